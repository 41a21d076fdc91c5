"""Texts that are too long for a table."""

import pyarrow as pa
import pyarrow.compute as pc

from talweg.ingest.problems import Problem, Refused, quoted

MOST_TEXT_BYTES = 100_000
"""So long a single text may be."""


def refuse_long_text(name: str, text: pa.ChunkedArray) -> None:
    """Refuse a column with a text that is too long.

    Args:
        name: The column's name.
        text: Its values.

    Raises:
        Refused: One is too long; names its row.
    """
    lengths = pc.binary_length(text)
    longest = pc.max(lengths).as_py() or 0
    if longest <= MOST_TEXT_BYTES:
        return
    row = pc.index(lengths, longest).as_py()
    raise Refused(
        Problem(
            f"row {row + 1}, column {quoted(name)}",
            f"a text of {longest:,} bytes",
            f"at most {MOST_TEXT_BYTES:,} bytes",
            "leave the column out: models take numbers, dates and categories",
        )
    )
