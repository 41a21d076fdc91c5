"""Texts that are perhaps no texts to their owner: numbers with signs beside them, other dates."""

import pyarrow as pa
import pyarrow.compute as pc

from talweg.ingest.problems import quoted

_SHARE = 0.9
_GROUPS = r"[0-9]{1,3}(?:[,.'’_ \x{a0}\x{202f}][0-9]{3})+"
_NUMBER = rf"(?:{_GROUPS}|[0-9]+)(?:[.,][0-9]+)?(?:[eE][+-]?[0-9]+)?"
_CURRENCY = "[$€£¥₹]"
_BEFORE = rf"\(?\s*[-+\x{{2212}}<>~]?\s*{_CURRENCY}?\s*[-+\x{{2212}}]?\s*"
_UNIT = rf"(?:%|‰|°[CFK]?|{_CURRENCY}|[a-zA-Zµ]{{1,3}}[23²³]?)"
_WITH_SIGNS = rf"^{_BEFORE}{_NUMBER}\s*{_UNIT}?\s*\)?$"
_PLAIN = r"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$"
_DAY = "[0-9]{1,2}"
_DATE = (
    rf"^(?:[0-9]{{4}}[-/.]{_DAY}[-/.]{_DAY}|{_DAY}[-/.]{_DAY}[-/.](?:[0-9]{{4}}|[0-9]{{2}}))"
    r"(?:[T ,].*)?$"
)
# Units, of which all values have the same; codes have letters of several kinds.
_LETTERS = r"[^a-zA-Zµ]"


def note_of(present: pa.ChunkedArray) -> str:
    """Say of texts that they look like numbers or dates; empty where they do not.

    Args:
        present: The texts that are there.
    """
    for pattern, what, advice in (
        (_PLAIN, "are numbers", "store numbers if they are quantities"),
        (_DATE, "look like dates", "write YYYY-MM-DD, or in Parquet dates"),
        (_WITH_SIGNS, "are numbers with signs beside them", "write plain numbers, such as 1234.5"),
    ):
        fits = pc.match_substring_regex(present, pattern)
        if not len(present) or pc.sum(fits).as_py() < _SHARE * len(present):
            continue
        if pattern is _WITH_SIGNS:
            units = pc.replace_substring_regex(present.filter(fits), _LETTERS, "")
            if pc.count_distinct(units).as_py() > 1:
                continue
        example = quoted(present.filter(fits)[0].as_py())
        return f"values such as {example} {what}, but are read as text: {advice}"
    return ""
