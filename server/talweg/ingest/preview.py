"""The first rows, for people."""

import json
import math
from typing import Any

import numpy as np

from talweg.ingest.request import Column, Content
from talweg.v1.stored_datasets_pb2 import DataColumn

_ROWS = 10
_MOST_COLUMNS = 100
_MOST_CHARS = 200


def preview_rows(content: Content) -> list[str]:
    """Return the first rows as JSON objects, of single values alone, of the first 100 columns."""
    columns = [c for c in content.columns if content.is_table or c.values.ndim == 1]
    rows = []
    for row in range(min(_ROWS, content.num_samples) if columns else 0):
        values = {column.name: _shown(column, row) for column in columns[:_MOST_COLUMNS]}
        rows.append(json.dumps(values, ensure_ascii=False))
    return rows


def _shown(column: Column, row: int) -> Any:
    value = column.values[row]
    if isinstance(column.values, np.ndarray):
        value = value.item()
        if column.type == DataColumn.CATEGORY:
            value = column.categories[value]
    else:
        value = value.as_py()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, str):
        return value if len(value) <= _MOST_CHARS else value[: _MOST_CHARS - 1] + "…"
    return value if isinstance(value, int | float | None) else str(value)
