"""What is worth knowing of data before training: rows twice, constant and equal columns, ids."""

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from talweg.ingest.problems import names_text, quoted, rows_text
from talweg.ingest.request import Column, Content
from talweg.spec.stored import is_like_id
from talweg.v1.stored_datasets_pb2 import DataColumn

_CHANNELS = (1, 3, 4)
_PRIME = np.uint64(0x9E3779B97F4A7C15)


def remarks(content: Content, columns: list[DataColumn]) -> list[str]:
    """Return what is worth knowing, for people.

    Args:
        content: The data.
        columns: What is known of each column.
    """
    texts = []
    constant = [
        about.name
        for about in columns
        if not about.num_missing and not about.num_non_finite and _is_constant(about)
    ]
    if constant and content.num_samples > 1:
        texts.append(f"one value alone in {_columns(constant)}: nothing can be learnt from it")
    prints: dict[bytes, str] = {}
    rows = np.zeros(content.num_samples, np.uint64)
    for column in content.columns:
        hashes = _hashes(column)
        digest = hashlib.sha256(hashes.tobytes()).digest()
        first = prints.setdefault(digest, column.name)
        if first != column.name and column.name not in constant:
            texts.append(f"column {quoted(column.name)} equals {quoted(first)}")
        rows = _mixed(rows * _PRIME + hashes)
    texts += [
        f"array {quoted(about.name)} has samples of the shape {tuple(about.shape)}, which is read "
        "as (channels, height, width): if the channels stand last, transpose it, "
        f"{about.name}.transpose(0, 3, 1, 2)"
        for about in columns
        if _has_channels_last(about)
    ]
    texts += _duplicates(rows)
    texts += [
        f"column {quoted(about.name)} has another value in each row: is it an id? Name it by id, "
        "or leave it out by ignore"
        for about in columns
        if is_like_id(about, content.num_samples)
    ]
    return texts


def _has_channels_last(about: DataColumn) -> bool:
    shape = list(about.shape)
    return len(shape) == 3 and shape[2] in _CHANNELS and shape[0] not in _CHANNELS


def _is_constant(about: DataColumn) -> bool:
    if about.type in (DataColumn.CATEGORY, DataColumn.TEXT):
        return about.num_distinct <= 1
    return about.min == about.max


def _columns(names: list[str]) -> str:
    return f"column{'s' if len(names) > 1 else ''} {names_text(names)}"


def _duplicates(rows: np.ndarray[Any, np.dtype[np.uint64]]) -> list[str]:
    order = np.argsort(rows, kind="stable")
    same = np.flatnonzero(rows[order][1:] == rows[order][:-1])
    if not same.size:
        return []
    again = np.sort(order[same + 1])
    share = 100 * again.size / len(rows)
    named = rows_text([int(row) for row in again[:10]], int(again.size))
    return [
        f"{again.size:,} of {len(rows):,} samples ({share:.1f}%) repeat an earlier one: {named}"
    ]


def _hashes(column: Column) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """Return a number for each value of a column, the same for equal values."""
    if isinstance(column.values, np.ndarray):
        return _of_array(column.values)
    values = column.values
    if pa.types.is_dictionary(values.type):
        values = values.cast(pa.string())
    if pa.types.is_string(values.type):
        encoded = pc.dictionary_encode(values).combine_chunks()
        if isinstance(encoded, pa.ChunkedArray):
            encoded = encoded.chunk(0)
        texts = encoded.dictionary.to_pylist()
        of_texts = np.array([_of_text(text) for text in texts] or [0], np.uint64)
        codes = pc.fill_null(encoded.indices, 0).to_numpy(zero_copy_only=False)
        is_there = encoded.indices.is_valid().to_numpy(zero_copy_only=False)
        hashes: np.ndarray[Any, np.dtype[np.uint64]] = of_texts[codes]
        return np.where(is_there, hashes, np.uint64(1))
    is_missing = pc.is_null(values).to_numpy()
    kind = pa.uint8() if pa.types.is_boolean(values.type) else values.type
    numbers = pc.fill_null(values.cast(kind), pa.scalar(0, pa.int64()).cast(kind)).to_numpy()
    bits = numbers.astype(np.float64) + 0.0 if numbers.dtype.kind == "f" else numbers
    mixed = _mixed(bits.astype(bits.dtype if bits.itemsize == 8 else np.int64).view(np.uint64))
    return np.where(is_missing, np.uint64(1), mixed)


def _of_array(values: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.uint64]]:
    digests = (hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in values)
    return np.frombuffer(b"".join(digests), np.uint64)


def _of_text(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def _mixed(
    numbers: np.ndarray[Any, np.dtype[np.uint64]],
) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """Spread the bits of numbers, as the finaliser of SplitMix64 does."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))
