"""What columns of text are: numbers, dates, true or false, categories or text."""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from talweg.ingest.problems import MOST_ROWS, Problem, Refused, quoted, rows_text
from talweg.ingest.request import Column
from talweg.ingest.tables.categories import category_or_text
from talweg.ingest.tables.dates import date_of
from talweg.ingest.tables.numbers import number_column
from talweg.ingest.tables.odd_texts import note_of
from talweg.v1.stored_datasets_pb2 import DataColumn

_INTEGER = r"^[+-]?[0-9]+$"
_NUMBER = r"^(?i:[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?|[+-]?inf(inity)?)$"
_DECIMAL_COMMA = r"^[+-]?[0-9]+(,[0-9]+)?$"
_THOUSANDS = r"^[+-]?(0|[1-9][0-9]{0,2}(,[0-9]{3})*)$"
_THOUSANDS_POINT = r"^[+-]?(0|[1-9][0-9]{0,2}(\.[0-9]{3})?)$"
# Such as postal codes, which are no quantities.
_CODE = r"^0[0-9]{3,}$"
_FEW = 10


@dataclass(frozen=True)
class TextOptions:
    """How columns of text are read."""

    missing: frozenset[str]
    """Texts that mean a missing value."""
    categories: frozenset[str] = frozenset()
    """Columns that are categories whatever they look like."""
    texts: frozenset[str] = frozenset()
    """Columns that are no numbers and no dates whatever they look like."""
    decimal_comma: bool = False
    """Whether 1,5 may be a number."""


def column_of_text(
    name: str, text: pa.ChunkedArray, options: TextOptions
) -> tuple[Column, list[str]]:
    """Find out what a column of text is, and convert it.

    Args:
        name: Its name.
        text: Its values, without nulls.
        options: How to read it.

    Returns:
        The column, and what was chosen, for people.

    Raises:
        Refused: Most of it are numbers or dates, and a few values are none.
    """
    text = pc.utf8_trim_whitespace(text)
    is_missing = pc.is_in(text, value_set=pa.array(sorted(options.missing), pa.string()))
    text = pc.if_else(is_missing, pa.scalar(None, pa.string()), text)
    present = text.drop_null()
    if name in options.categories:
        return category_or_text(name, text, force=True), []
    if name in options.texts:
        return category_or_text(name, text), []
    if not len(present):
        return Column(name, DataColumn.NUMBER, text.cast(pa.float64())), [
            f"column {quoted(name)} has no value at all"
        ]
    if _is_boolean(present):
        values = pc.equal(pc.utf8_lower(text), "true")
        return Column(name, DataColumn.BOOLEAN, values), []
    if _some(present, _CODE) and _all(present, _INTEGER):
        example = present.filter(pc.match_substring_regex(present, _CODE))[0].as_py()
        return category_or_text(name, text), [
            f"column {quoted(name)} has codes with leading zeros, such as {quoted(example)}: "
            "it is read as text"
        ]
    return _typed(name, text, present, options)


def _typed(
    name: str, text: pa.ChunkedArray, present: pa.ChunkedArray, options: TextOptions
) -> tuple[Column, list[str]]:
    is_number = pc.match_substring_regex(present, _NUMBER)
    if pc.all(is_number).as_py():
        column, notes = number_column(name, text, is_whole=_all(present, _INTEGER))
        may_be_more = options.decimal_comma and _all(present, _THOUSANDS_POINT)
        if may_be_more and _some(present, r"\."):
            example = present.filter(pc.match_substring(present, "."))[0].as_py()
            notes = [
                *notes,
                f"column {quoted(name)} has values such as {example}, whose point is read as a "
                f"decimal one: write {example.replace('.', '')} if it parts thousands",
            ]
        return column, notes
    has_commas = options.decimal_comma and _all(present, _DECIMAL_COMMA)
    # 1,234 may be more than a thousand: as long as every comma could be such, it is not guessed.
    if has_commas and not _all(present, _THOUSANDS):
        column, notes = number_column(name, pc.replace_substring(text, ",", "."), is_whole=False)
        return column, [*notes, f"column {quoted(name)} has decimal commas"]
    num_other = len(present) - pc.sum(is_number).as_py()
    if _is_few(present, is_number, num_other):
        fits = pc.match_substring_regex(text, _NUMBER)
        raise Refused(_few_problem(name, text, pc.invert(pc.fill_null(fits, True)), "numbers"))
    dates = date_of(text, present)
    if dates.values is not None:
        is_usual = dates.form == "YYYY-MM-DD"
        notes = [] if is_usual else [f"column {quoted(name)} has dates in the form {dates.form}"]
        return Column(name, DataColumn.DATE, dates.values, date_form=dates.form), notes
    if dates.odd is not None:
        raise Refused(_few_problem(name, text, dates.odd, "dates"))
    note = dates.note or note_of(present)
    return category_or_text(name, text), [f"column {quoted(name)}: {note}"] if note else []


def _is_few(present: pa.ChunkedArray, fits: pa.ChunkedArray, num_other: int) -> bool:
    """Tell whether so few values fail to fit that they are rather mistakes than another type."""
    if num_other * 2 > len(present):
        return False
    if num_other * 10 <= len(present):
        return True
    return bool(pc.count_distinct(present.filter(pc.invert(fits))).as_py() <= _FEW)


def _few_problem(name: str, text: pa.ChunkedArray, odd: pa.ChunkedArray, what: str) -> Problem:
    """Name the rows whose values are not like the others."""
    rows = pc.indices_nonzero(odd)
    number = len(rows)
    some = [int(row.as_py()) for row in rows[:MOST_ROWS]]
    texts = list(dict.fromkeys(text[row].as_py() for row in some))
    listed = ", ".join(quoted(each) for each in texts)
    missing = ", ".join(texts[:3])
    return Problem(
        f"column {quoted(name)}, {rows_text(some, number)}",
        f"{listed}{' …' if number > len(some) else ''} among {what}",
        f"{what}, or a text that means a missing value",
        f"mend these rows; or say missing: [{missing}], or categories: [{name}]",
    )


def _is_boolean(present: pa.ChunkedArray) -> bool:
    lowered = pc.utf8_lower(present)
    return bool(pc.all(pc.is_in(lowered, value_set=pa.array(["true", "false"]))).as_py())


def _all(present: pa.ChunkedArray, pattern: str) -> bool:
    return bool(pc.all(pc.match_substring_regex(present, pattern)).as_py())


def _some(present: pa.ChunkedArray, pattern: str) -> bool:
    return bool(pc.any(pc.match_substring_regex(present, pattern)).as_py())
