"""Divides stored samples as their own columns say: by group, in the order of time, or by name."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from talweg.spec import split_sizes
from talweg.v1.spec_pb2 import Split
from talweg.worker.data.split import Division
from talweg.worker.data.stored.columns import Keys
from talweg.worker.errors import UserSpecError

_PARTS = ("train", "validation", "test")
_NAMES = {
    "train": 0, "training": 0,
    "validation": 1, "val": 1,
    "test": 2,
}  # fmt: skip
_MOST_NAMED = 10


def divide_groups(split: Split, codes: NDArray[np.int64], name: str) -> Division:
    """Divide groups of samples, so that all samples of a group stand in one part.

    Larger groups are dealt out first, each to the part that lacks most; then single groups move
    for as long as that brings the parts' sizes nearer to what was asked for. Groups are taken in
    random order within what differs little in size.

    Args:
        split: Shares and seed.
        codes: A number for the group of each sample, below 0 where it has none.
        name: The column's.

    Raises:
        UserSpecError: A sample has no group, or a part that should have samples gets none.
    """
    _refuse_missing(codes < 0, f"dataset.stored.group: {name}", "a group")
    sizes = np.bincount(codes)
    wanted = split_sizes(split, len(codes))
    # What is left over stands in no part.
    targets = np.array([*wanted, len(codes) - sum(wanted)])
    rng = np.random.default_rng(split.seed)
    order = np.argsort(-sizes * rng.uniform(0.5, 1.0, len(sizes)), kind="stable")
    part_of = np.empty(len(sizes), dtype=np.intp)
    lacking = targets.astype(np.int64)
    for group in order:
        part = int(np.argmax(lacking))
        part_of[group] = part
        lacking[part] -= sizes[group]
    _move_nearer(part_of, sizes, lacking, order)
    _fill_empty(part_of, sizes, targets[:3])
    shares = (split.train, split.validation, split.test)
    for part, share in enumerate(shares):
        if share > 0 and not (part_of == part).any():
            raise UserSpecError(
                f"split.{_PARTS[part]} must get at least one of the groups in {name}, but there "
                f"are {len(sizes)} groups, the largest of {sizes.max():,} of {len(codes):,} "
                f"samples: set split.{_PARTS[part]} to 0, or name a column with more groups in "
                "dataset.stored.group"
            )
    rows = rng.permutation(len(codes))
    parts = part_of[codes[rows]]
    return Division(*(rows[parts == part] for part in range(3)))


def _fill_empty(
    part_of: NDArray[np.intp], sizes: NDArray[np.int64], wanted: NDArray[np.intp]
) -> None:
    """Give, in place, each part that should have samples and has none the smallest group.

    It is taken from a part that has several: few large groups fit no shares, and still must be
    divided.
    """
    for part in np.flatnonzero(wanted > 0):
        if (part_of == part).any():
            continue
        counts = np.bincount(part_of, minlength=4)
        free = np.flatnonzero(counts[part_of] > 1)
        if len(free):
            part_of[free[np.argmin(sizes[free])]] = part


def _move_nearer(
    part_of: NDArray[np.intp],
    sizes: NDArray[np.int64],
    lacking: NDArray[np.int64],
    order: NDArray[np.intp],
) -> None:
    """Move single groups, in place, for as long as that brings the parts nearer to their sizes."""
    moved = True
    while moved:
        moved = False
        for group in order:
            size, here = sizes[group], part_of[group]
            before = np.abs(lacking) + abs(lacking[here])
            after = np.abs(lacking - size) + abs(lacking[here] + size)
            gain = before - after
            gain[here] = 0
            there = int(np.argmax(gain))
            if gain[there] > 0:
                lacking[here] += size
                lacking[there] -= size
                part_of[group] = there
                moved = True


def divide_by_time(split: Split, times: NDArray[np.float64], name: str) -> Division:
    """Give the latest samples to the test, those before them to validation, and so on.

    Where the shares leave samples over, they are the earliest. Of one time, samples are in the
    order of the file.

    Args:
        split: Shares.
        times: The time of each sample; NaN where it is missing.
        name: The column's.

    Raises:
        UserSpecError: A sample has no time.
    """
    _refuse_missing(np.isnan(times), f"dataset.stored.time: {name}", "a time")
    order = np.argsort(times, kind="stable")
    train, validation, test = split_sizes(split, len(times))
    first = len(times) - (train + validation + test)
    _, *parts = np.split(order, np.cumsum([first, train, validation]))
    return Division(*parts)


def divide_by_column(split: Split, parts: Keys, name: str) -> Division:
    """Divide samples by a column that names the part of each.

    Args:
        split: A share of 0 says that there is no such part; sizes are the column's.
        parts: The part of each sample.
        name: The column's.

    Raises:
        UserSpecError: A sample names none, or something else; or a part has no sample.
    """
    field = f"dataset.stored.split: {name}"
    _refuse_missing(parts.codes < 0, field, "a part")
    indices = [_NAMES.get(text.strip().lower(), -1) for text in parts.texts]
    wrong = [text for text, index in zip(parts.texts, indices, strict=True) if index < 0]
    if wrong:
        raise UserSpecError(
            f"{field} must hold train, validation (or val) and test, but has "
            f"{_some([repr(text) for text in wrong])}"
        )
    of_rows = np.array(indices, dtype=np.intp)[parts.codes]
    division = Division(*(np.flatnonzero(of_rows == part) for part in range(3)))
    for part, share, rows in zip(
        _PARTS, (split.train, split.validation, split.test), division, strict=True
    ):
        if share > 0 and not len(rows):
            # Else what rests on the part, such as early stopping, would never happen.
            hint = "" if part == "train" else f": where there is none, set split.{part} to 0"
            raise UserSpecError(f"{field} must say {part} in some rows, but no row does{hint}")
    return division


def _refuse_missing(missing: NDArray[np.bool_], field: str, what: str) -> None:
    rows = np.flatnonzero(missing)
    if len(rows):
        names = _some([str(row + 1) for row in rows])
        raise UserSpecError(
            f"{field} must have {what} in every row, but has none in {len(rows):,} rows: {names}"
        )


def _some(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - _MOST_NAMED} more" if len(texts) > _MOST_NAMED else ""
    return ", ".join(texts[:_MOST_NAMED]) + more
