"""The character between the fields of a CSV file."""

import codecs
import csv
import io
import re
from collections import Counter
from pathlib import Path

_SAMPLE = 1 << 22
_ROWS = 100
_CANDIDATES = (",", "\t", ";", "|")
_NUMBER = re.compile(r"\s*[+-]?[0-9]+(\.[0-9]*)?\s*")
_WITH_COMMA = re.compile(r"\s*[+-]?([0-9]+|[0-9]{1,3}(\.[0-9]{3})+)([.,][0-9]*)?\s*")


def sample_of(path: Path, encoding: str) -> str:
    """Return the first lines of a text file, whole ones where there are several."""
    with path.open("rb") as file:
        content = file.read(_SAMPLE)
    is_all = len(content) < _SAMPLE
    text = codecs.getincrementaldecoder(encoding)("replace").decode(content)
    text = text.removeprefix("\ufeff")
    cut = max(text.rfind("\n"), text.rfind("\r"))
    return text if is_all or cut < 0 else text[: cut + 1]


def delimiter_of(sample: str, ending: str) -> str:
    """Detect the delimiter: the one by which most rows have as many fields as the header.

    In a file of decimal commas each row has commas, also more of them than delimiters, but the
    header has none. Where both have, the one counts that leaves more numbers.

    Args:
        sample: The first lines.
        ending: Of the file's name.
    """
    if ending in (".tsv", ".tab"):
        return "\t"
    best, most = ",", (False, 0.0, 0.0, 0)
    for candidate in _CANDIDATES:
        rows = [row for row in _rows(sample, candidate) if row]
        counts = Counter(map(len, rows))
        if not counts:
            continue
        width, number = counts.most_common(1)[0]
        if width < 2:
            continue
        is_as_header = len(rows[0]) == width
        score = (is_as_header, round(number / len(rows), 1), _numbers(rows[1:], candidate), width)
        if score > most:
            best, most = candidate, score
    return best


def _numbers(rows: list[list[str]], delimiter: str) -> float:
    """Return the share of fields that are numbers."""
    pattern = _NUMBER if delimiter == "," else _WITH_COMMA
    fields = [field for row in rows for field in row]
    number = sum(pattern.fullmatch(field) is not None for field in fields)
    return round(number / max(1, len(fields)), 1)


def header_of(sample: str, delimiter: str, quote: str) -> list[str]:
    """Return the fields of the first row."""
    return next((row for row in _rows(sample, delimiter, quote) if row), [])


def quote_of(sample: str, delimiter: str) -> str:
    """Detect the quotation mark: the single one where it stands around every name."""
    names = header_of(sample, delimiter, '"')
    # A single name could be a word of speech.
    is_single = len(names) > 1 and all(
        len(name) > 1 and name[0] == name[-1] == "'" for name in map(str.strip, names)
    )
    return "'" if is_single else '"'


def _rows(sample: str, delimiter: str, quote: str = '"') -> list[list[str]]:
    csv.field_size_limit(_SAMPLE * 2)
    rows = []
    try:
        for row in csv.reader(
            io.StringIO(sample, newline=""), delimiter=delimiter, quotechar=quote
        ):
            rows.append(row)
            if len(rows) == _ROWS:
                break
    except csv.Error:
        return rows
    return rows
