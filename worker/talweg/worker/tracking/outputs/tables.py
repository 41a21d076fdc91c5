"""Tables of diagnoses as CSV."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

FOLDER = "diagnostics"
"""Where tables and their pictures stand among a job's files."""


def as_csv(columns: Mapping[str, Sequence[Any]]) -> str:
    """Return columns as CSV, their names first."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return file.getvalue()
