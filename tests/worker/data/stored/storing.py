"""Data sets in a blob store, written as the server's reading of files writes them."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import safetensors.numpy
from google.protobuf.json_format import MessageToJson
from numpy.typing import NDArray

from talweg.spec import arrays_of, fill, from_dict, task_kind
from talweg.spec.semantics.pairs_triplets import fill_examples
from talweg.spec.stored import facts_of
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.stored_datasets_pb2 import DataColumn, StoredDataset, ValueCount

_MOST_VALUES = 1000
_ARROW = {
    DataColumn.NUMBER: pa.float64(),
    DataColumn.INTEGER: pa.int64(),
    DataColumn.BOOLEAN: pa.bool_(),
    DataColumn.DATE: pa.timestamp("us"),
    DataColumn.TEXT: pa.string(),
}


def store_table(
    store: Path, columns: Mapping[str, Sequence[Any]], *, texts: Sequence[str] = ()
) -> StoredDataset:
    """Store columns of Python values, None where one is missing, and give their description.

    Strings are categories, but for those of the columns named in texts.
    """
    described = [_describe(name, values, texts) for name, values in columns.items()]
    arrays = []
    for column, values in zip(described, columns.values(), strict=True):
        if column.type == DataColumn.CATEGORY:
            names = [each.value for each in column.values]
            codes = [None if value is None else names.index(value) for value in values]
            indices = pa.array(codes, pa.int32())
            arrays.append(pa.DictionaryArray.from_arrays(indices, pa.array(names, pa.string())))
        else:
            arrays.append(pa.array(values, _ARROW[column.type]))
    sink = pa.BufferOutputStream()
    table = pa.table(arrays, names=list(columns))
    with pa.ipc.new_file(sink, table.schema) as writer:
        # Two batches, as of a file that is read in parts.
        writer.write_table(table, max_chunksize=max(1, len(table) // 2 + 1))
    return _store(store, "data.arrow", sink.getvalue().to_pybytes(), described, len(table))


def store_arrays(
    store: Path,
    arrays: Mapping[str, NDArray[Any]],
    *,
    categories: Mapping[str, Sequence[str]] | None = None,
) -> StoredDataset:
    """Store arrays, and give their description; codes of categories with their names."""
    described = []
    for name, array in arrays.items():
        column = DataColumn(name=name, shape=array.shape[1:], dtype=str(array.dtype))
        names = (categories or {}).get(name)
        if names is not None:
            column.type = DataColumn.CATEGORY
            column.values.extend(ValueCount(value=value) for value in names)
            for index, each in enumerate(column.values):
                each.count = int((array == index).sum())
            column.num_distinct = len(names)
        else:
            whole = np.issubdtype(array.dtype, np.integer)
            column.type = DataColumn.INTEGER if whole else DataColumn.NUMBER
            column.min, column.max = float(array.min()), float(array.max())
            if whole and array.ndim == 1:
                _count(column, [int(value) for value in array])
        described.append(column)
    content = safetensors.numpy.save({name: np.ascontiguousarray(a) for name, a in arrays.items()})
    num_samples = len(next(iter(arrays.values())))
    return _store(store, "data.safetensors", content, described, num_samples)


def job_on(info: StoredDataset, task: Any, roles: Mapping[str, Any], **fields: Any) -> JobSpec:
    """Return a filled job on stored data, with what the server sets at submission."""
    spec = from_dict(
        {
            "task": task,
            "dataset": {"stored": {"name": "houses", **roles}},
            "model": {"mlp": {"hidden": [8]}},
            "loss": "mse",
            "training": {"epochs": 2},
            **fields,
        }
    )
    source = spec.dataset.stored
    source.digest = info.digest
    # What metric learning reads depends on the arrays.
    probe = JobSpec()
    probe.CopyFrom(spec)
    facts, _ = facts_of(info, source, task_kind(spec), ())
    probe.dataset.stored.facts.CopyFrom(facts)
    fill_examples(probe)
    facts, violations = facts_of(info, source, task_kind(spec), arrays_of(probe))
    assert not violations, violations
    source.facts.CopyFrom(facts)
    return fill(spec)


def _describe(name: str, values: Sequence[Any], texts: Sequence[str]) -> DataColumn:
    present = [value for value in values if value is not None]
    column = DataColumn(name=name, num_missing=len(values) - len(present))
    column.missing_rows.extend([row for row, value in enumerate(values) if value is None][:10])
    column.num_distinct = len(set(present))
    first = present[0]
    if isinstance(first, str):
        column.type = DataColumn.TEXT if name in texts else DataColumn.CATEGORY
        if name not in texts:
            _count(column, present)
    elif isinstance(first, datetime):
        column.type = DataColumn.DATE
    elif isinstance(first, bool):
        column.type, column.max = DataColumn.BOOLEAN, 1
        _count(column, present)
    else:
        is_whole = isinstance(first, int)
        column.type = DataColumn.INTEGER if is_whole else DataColumn.NUMBER
        column.min, column.max = float(min(present)), float(max(present))
        if is_whole and column.num_distinct <= _MOST_VALUES:
            _count(column, present)
    return column


def _count(column: DataColumn, values: Sequence[Any]) -> None:
    column.num_distinct = len(set(values))
    for value in sorted(set(values)):
        text = str(value).lower() if isinstance(value, bool) else str(value)
        column.values.add(value=text, count=values.count(value))


def _store(
    store: Path, file: str, content: bytes, columns: Sequence[DataColumn], num_samples: int
) -> StoredDataset:
    digest = hashlib.sha256(content + b"{}").hexdigest()
    info = StoredDataset(
        digest=digest,
        num_samples=num_samples,
        num_bytes=len(content),
        file_name="houses.csv",
        columns=columns,
        data_sha256=hashlib.sha256(content).hexdigest(),
    )
    folder = store / "datasets" / digest
    folder.mkdir(parents=True, exist_ok=True)
    (folder / file).write_bytes(content)
    text = MessageToJson(info, preserving_proto_field_name=True)
    (folder / "info.json").write_text(text, encoding="utf-8")
    return info
