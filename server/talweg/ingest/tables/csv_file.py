"""CSV and TSV files."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

import pyarrow as pa
import pyarrow.csv

from talweg.ingest.problems import MOST_PROBLEMS, Problem, Refused, names_text, quoted
from talweg.ingest.request import Column, Content, Request
from talweg.ingest.tables.delimiter import delimiter_of, header_of, quote_of, sample_of
from talweg.ingest.tables.encoding import OF_ONE_BYTE, encoding_of
from talweg.ingest.tables.header import header_problems, odd_header
from talweg.ingest.tables.long_texts import refuse_long_text
from talweg.ingest.tables.other_text import refuse_other_text
from talweg.ingest.tables.text_types import TextOptions, column_of_text
from talweg.spec.stored import MISSING_TEXTS
from talweg.v1.datasets_pb2 import ReadOptions

_MOST_BLOCK = 1 << 26
_LEAST_BLOCK = 1 << 20


@dataclass(frozen=True)
class TextTable:
    """A table whose values are texts yet."""

    header: list[str]
    """The columns' names."""
    columns: list[pa.ChunkedArray]
    """Their texts; taken away as their values are made."""
    options: ReadOptions
    """How it was read."""
    notes: Sequence[str] = ()
    """What was chosen, for people."""


def read_csv(request: Request) -> Content:
    """Read a CSV file.

    Raises:
        Refused: It cannot be stored; names rows and columns.
    """
    return typed(read_text(request))


def read_text(request: Request) -> TextTable:
    """Read the texts of a CSV file.

    Raises:
        Refused: It is none, or its rows do not fit its header.
    """
    options = ReadOptions()
    options.CopyFrom(request.options)
    name = request.file_name
    options.format = ReadOptions.csv
    options.encoding = encoding_of(request.path, name, request.options.encoding)
    notes = []
    if not request.options.encoding and options.encoding in OF_ONE_BYTE:
        notes.append(
            f"the file is no UTF-8 and is read as {options.encoding}: if letters look wrong, say "
            "what it is by the option encoding"
        )
    sample = sample_of(request.path, options.encoding)
    if not sample.strip():
        raise Refused(Problem(name, "no text", "a line with names, and rows of values"))
    refuse_other_text(name, sample)
    if not options.delimiter:
        options.delimiter = delimiter_of(sample, PurePath(name).suffix.lower())
    if not options.quote:
        options.quote = quote_of(sample, options.delimiter)
    header = [field.strip() for field in header_of(sample, options.delimiter, options.quote)]
    problems = header_problems(header, delimiter=options.delimiter)
    problems += _option_problems(options, header)
    if problems:
        raise Refused(*problems)
    table = _table(request, options, header)
    if not table.num_rows:
        raise Refused(Problem(name, "a header and no rows", "at least one row of values"))
    return TextTable(header, list(table.columns), options, notes)


def typed(table: TextTable) -> Content:
    """Make values of texts, column by column.

    Args:
        table: At least one row; afterwards its columns are gone, so that their memory is.

    Raises:
        Refused: Values do not fit together; names rows and columns.
    """
    options = table.options
    if not options.missing:
        options.missing.extend(MISSING_TEXTS)
    of_text = TextOptions(
        missing=frozenset(options.missing) | {""},
        categories=frozenset(options.categories),
        texts=frozenset(options.texts),
        decimal_comma=options.delimiter != ",",
    )
    columns: list[Column] = []
    notes = list(table.notes)
    problems: list[Problem] = []
    for column_name in table.header:
        # One by one: the text of a column goes once its values are there.
        text = table.columns.pop(0)
        try:
            refuse_long_text(column_name, text)
            column, note = column_of_text(column_name, text, of_text)
        except Refused as exc:
            problems += exc.problems
            if len(problems) >= MOST_PROBLEMS:
                break
            continue
        columns.append(column)
        notes += note
        del text
    if problems:
        raise Refused(*problems)
    return Content(columns, len(columns[0].values), options, notes=notes)


def _option_problems(options: ReadOptions, header: list[str]) -> list[Problem]:
    problems = []
    for field in ("categories", "texts"):
        unknown = [name for name in getattr(options, field) if name not in header]
        if unknown:
            problems.append(
                Problem(
                    f"options.{field}", names_text(unknown), f"columns: {names_text(header, 20)}"
                )
            )
    if options.delimiter in ('"', "\n", "\r", " "):
        problems.append(
            Problem("options.delimiter", quoted(options.delimiter), "such as , ; | or a tab")
        )
    return problems


def _table(request: Request, options: ReadOptions, header: list[str]) -> pa.Table:
    """Read all rows as text, the header left out."""
    ragged: list[pa.csv.InvalidRow] = []
    widths: Counter[int] = Counter()

    def note(row: pa.csv.InvalidRow) -> str:
        # A line of spaces is a blank one.
        if not row.text.strip():
            return "skip"
        widths[row.actual_columns] += 1
        # One beyond what is told says that there are more.
        if len(ragged) <= MOST_PROBLEMS:
            ragged.append(row)
        return "skip"

    names = [f"f{index}" for index in range(len(header))]
    block = min(max(request.num_bytes + 1, _LEAST_BLOCK), _MOST_BLOCK)
    try:
        table = pa.csv.read_csv(
            request.path,
            read_options=pa.csv.ReadOptions(
                # With several threads, rows have no numbers.
                use_threads=False,
                block_size=block,
                column_names=names,
                encoding="utf8" if options.encoding == "utf-8" else options.encoding,
            ),
            parse_options=pa.csv.ParseOptions(
                delimiter=options.delimiter,
                quote_char=options.quote,
                newlines_in_values=True,
                invalid_row_handler=note,
            ),
            convert_options=pa.csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                strings_can_be_null=False,
                null_values=[],
            ),
        )
    except pa.ArrowInvalid as exc:
        if "straddl" not in str(exc):
            raise
        raise Refused(
            Problem(
                request.file_name,
                f"a row of more than {block:,} bytes",
                "rows on lines of their own",
                'look for a quote (") that is not closed',
            )
        ) from exc
    if ragged:
        (most, number), num_rows = widths.most_common(1)[0], table.num_rows - 1
        # Where most rows are alike, the header is what is wrong.
        if number > 1 and number > num_rows and not _is_spaced(ragged[0], options.delimiter):
            has_more = any(row.text.rstrip().endswith(options.delimiter) for row in ragged)
            rows = f"{number:,} of {num_rows + widths.total():,} rows have {most}"
            raise Refused(odd_header(header, rows, "" if not has_more else options.delimiter))
        raise Refused(*(_ragged(row, options.delimiter) for row in ragged))
    _refuse_open_quote(table, request, options.quote)
    return table.slice(1)


def _ragged(row: pa.csv.InvalidRow, delimiter: str) -> Problem:
    more = row.actual_columns > row.expected_columns
    hint = "remove the row, or complete it"
    if more:
        hint = f'put values that hold {quoted(delimiter)} into quotes, as "1{delimiter}5"'
        if _is_spaced(row, delimiter):
            hint += f", without a space between {quoted(delimiter)} and the quote"
    return Problem(
        # The header is row 1 of the file.
        f"row {row.number - 1}" if row.number else "a row",
        f"{row.actual_columns} values: {quoted(row.text)}",
        f"{row.expected_columns}, as the header has",
        hint,
    )


def _is_spaced(row: pa.csv.InvalidRow, delimiter: str) -> bool:
    """Tell whether a space stands in front of a quote, which then is none."""
    return f'{delimiter} "' in row.text


def _refuse_open_quote(table: pa.Table, request: Request, quote: str) -> None:
    """Refuse a file whose last value goes on over lines to the file's end."""
    if not table.num_rows:
        return
    last = table.column(table.num_columns - 1)[-1].as_py()
    if "\n" not in last and "\r" not in last:
        return
    with request.path.open("rb") as file:
        file.seek(max(0, request.num_bytes - 64))
        # A value that is closed ends in a quote, in each encoding that has been read.
        is_closed = quote.encode() in file.read().rstrip(b"\r\n\0 \t")[-4:]
    if not is_closed:
        raise Refused(
            Problem(
                f"row {table.num_rows - 1}",
                f"a quote that is not closed: {quoted(last)}",
                f"values in quotes end with a quote ({quote})",
            )
        )
