"""Columns and data sets for the tests of stored data."""

from typing import Any

from talweg.v1.stored_datasets_pb2 import DataColumn, StoredDataset, ValueCount


def number(name: str, low: float = 0, high: float = 9, **fields: Any) -> DataColumn:
    parts: dict[str, Any] = {
        "type": DataColumn.NUMBER, "dtype": "float64", "min": low, "max": high, "num_distinct": 40,
    }  # fmt: skip
    return DataColumn(name=name, **(parts | fields))


def category(name: str, *counts: int, **fields: Any) -> DataColumn:
    values = [ValueCount(value=f"v{index}", count=count) for index, count in enumerate(counts)]
    parts: dict[str, Any] = {
        "type": DataColumn.CATEGORY, "dtype": "int32", "num_distinct": len(values),
        "values": values,
    }  # fmt: skip
    return DataColumn(name=name, **(parts | fields))


def array(name: str, *shape: int, **fields: Any) -> DataColumn:
    parts: dict[str, Any] = {
        "type": DataColumn.NUMBER, "dtype": "float32", "min": 0, "max": 1, "shape": shape,
    }  # fmt: skip
    return DataColumn(name=name, **(parts | fields))


def dataset(*columns: DataColumn, num_samples: int = 40) -> StoredDataset:
    return StoredDataset(num_samples=num_samples, columns=columns)
