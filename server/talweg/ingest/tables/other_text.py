"""Text files that are no tables, though they may be called so."""

import re

from talweg.ingest.problems import Problem, Refused, quoted
from talweg.ingest.tables.header import ABOVE_NAMES

_KINDS = (
    (re.compile(r'\{\s*["}]|\[\s*[\[{\]]'), "JSON", "write it as CSV or Parquet"),
    (
        re.compile(r"<(!doctype|html|head|body|\?xml|table)\b", re.IGNORECASE),
        "a page of HTML or XML",
        "it may be a page that stood in the file's place: download the file itself",
    ),
)
# Excel writes and reads it; it names the delimiter, and is no header.
_NOTE = re.compile(r"sep=.?\s*[\r\n]", re.IGNORECASE)


def refuse_other_text(file_name: str, sample: str) -> None:
    """Refuse a text file whose beginning says that it is no table with names in its first line.

    Args:
        file_name: As its owner calls it.
        sample: Its first lines.

    Raises:
        Refused: It is none.
    """
    start = sample.lstrip()
    for pattern, what, hint in _KINDS:
        if pattern.match(start):
            raise Refused(Problem(file_name, f"{what}, by its first characters", "CSV", hint))
    note = _NOTE.match(start)
    if note:
        found = f"a line that names the delimiter for Excel: {quoted(note.group().strip())}"
        raise Refused(Problem("header", found, "names of the columns", ABOVE_NAMES))
