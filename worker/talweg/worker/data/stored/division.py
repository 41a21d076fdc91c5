"""Divides stored samples as their own columns say: by group, in the order of time, or by name."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from talweg.spec import is_fold, split_sizes
from talweg.spec.stored import PARTS, part_named
from talweg.v1.spec_pb2 import Split
from talweg.worker.data.split import Division, shuffled_rest
from talweg.worker.data.stored.columns import Keys
from talweg.worker.errors import UserSpecError

_MOST_NAMED = 10


def divide_groups(
    split: Split, codes: NDArray[np.int64], name: str, classes: NDArray[np.int64] | None = None
) -> Division:
    """Divide groups of samples, so that all samples of a group stand in one part.

    Larger groups are dealt out first, each to the part that lacks most; then single groups move
    for as long as that brings the parts' sizes nearer to what was asked for. Groups are taken in
    random order within what differs little in size.

    Args:
        split: Shares and seed.
        codes: A number for the group of each sample, below 0 where it has none.
        name: The column's.
        classes: The class of each sample where folds are to keep the classes' shares as far as
            whole groups can; else None.

    Raises:
        UserSpecError: A sample has no group, or a part that should have samples gets none.
    """
    _refuse_missing(codes < 0, f"dataset.stored.group: {name}", "a group")
    if is_fold(split):
        return _divide_folds(split, codes, name, classes)
    wanted = split_sizes(split, len(codes))
    # What is left over stands in no part.
    targets = np.array([*wanted, len(codes) - sum(wanted)])
    rng = np.random.default_rng(split.seed)
    shares = (split.train, split.validation, split.test)
    part_of = _parts_of_groups(split, shares, codes, targets, name, rng)
    rows = rng.permutation(len(codes))
    parts = part_of[codes[rows]]
    return Division(*(rows[parts == part] for part in range(3)))


def _divide_folds(
    split: Split, codes: NDArray[np.int64], name: str, classes: NDArray[np.int64] | None
) -> Division:
    """Give a fold of the groups to the test, and divide the others as `divide_groups` does."""
    # Numbers that no sample has are no groups.
    codes = np.unique(codes, return_inverse=True)[1]
    folds = folds_of_groups(split, codes, name, classes)
    test, rest = shuffled_rest(split, folds[codes] == split.fold)
    # A fold is as large as its groups make it: of the others the parts keep their ratio.
    of_others = 1 - split.test
    shares = (split.train / of_others, split.validation / of_others, 0.0)
    wanted = split_sizes(Split(train=shares[0], validation=shares[1]), len(rest))
    targets = np.array([*wanted, len(rest) - sum(wanted)])
    groups = np.unique(codes[rest], return_inverse=True)[1]
    rng = np.random.default_rng([split.seed, split.fold])
    parts = _parts_of_groups(split, shares, groups, targets, name, rng)[groups]
    return Division(rest[parts == 0], rest[parts == 1], test)


def folds_of_groups(
    split: Split, codes: NDArray[np.int64], name: str, classes: NDArray[np.int64] | None = None
) -> NDArray[np.intp]:
    """Deal groups of samples out to the folds of a cross-validation.

    Larger groups come first, each to the fold that is then the emptiest: by the shares of all
    samples, and of those of each class, that a fold holds, squared. Groups are taken in random
    order within what differs little in size. Which fold is a job's test does not enter.

    Args:
        split: The number of folds, and the seed.
        codes: The group of each sample, from 0, none of them empty (N,).
        name: The column's.
        classes: The class of each sample, or None.

    Returns:
        The fold of each group, from 1.

    Raises:
        UserSpecError: There are fewer groups than folds.
    """
    sizes = np.bincount(codes)
    if len(sizes) < split.folds:
        raise UserSpecError(
            f"split.folds must be at most {len(sizes)}, the number of groups in {name}, but got "
            f"{split.folds}: set fewer, or name a column with more groups in dataset.stored.group"
        )
    if classes is None:
        classes = np.zeros(len(codes), dtype=np.int64)
    totals = np.bincount(classes).astype(np.float64)
    of_group = np.split(classes[np.argsort(codes, kind="stable")], np.cumsum(sizes)[:-1])
    # The last column counts all samples, so that an empty fold always comes first.
    shares = np.zeros((split.folds, len(totals) + 1))
    jitter = np.random.default_rng(split.seed).uniform(0.5, 1.0, len(sizes))
    folds = np.empty(len(sizes), dtype=np.intp)
    for group in np.argsort(-sizes * jitter, kind="stable"):
        present, counts = np.unique(of_group[group], return_counts=True)
        columns = np.append(present, len(totals))
        added = np.append(counts / totals[present], sizes[group] / len(codes))
        # What the squares grow by.
        growth = (added * (2 * shares[:, columns] + added)).sum(axis=1)
        fold = int(np.argmin(growth))
        shares[fold, columns] += added
        folds[group] = fold + 1
    return folds


def _parts_of_groups(
    split: Split,
    shares: Sequence[float],
    codes: NDArray[np.int64],
    targets: NDArray[np.int64],
    name: str,
    rng: np.random.Generator,
) -> NDArray[np.intp]:
    """Return the part of each group: 0 to 2, or 3 for what stands in none.

    Args:
        split: Tells whether a fold is set aside.
        shares: Of each part; one with a share above 0 must get a group.
        codes: The group of each sample, from 0, none of them empty.
        targets: Samples of each part, and of none.
        name: The column's.
        rng: Decides which groups go where.
    """
    sizes = np.bincount(codes)
    order = np.argsort(-sizes * rng.uniform(0.5, 1.0, len(sizes)), kind="stable")
    part_of = np.empty(len(sizes), dtype=np.intp)
    lacking = targets.astype(np.int64)
    for group in order:
        part = int(np.argmax(lacking))
        part_of[group] = part
        lacking[part] -= sizes[group]
    _move_nearer(part_of, sizes, lacking, order)
    _fill_empty(part_of, sizes, targets[:3])
    for part, share in enumerate(shares):
        if share > 0 and not (part_of == part).any():
            # Something must be trained on.
            unneeded = PARTS[part] if part else "validation"
            raise UserSpecError(
                f"split.{PARTS[part]} must get at least one of the groups in {name}, but "
                f"{_groups_left(split, len(sizes))}, the largest of {sizes.max():,} of "
                f"{len(codes):,} samples: set split.{unneeded} to 0, or name a column with "
                "more groups in dataset.stored.group"
            )
    return part_of


def _groups_left(split: Split, count: int) -> str:
    beside = f" beside fold {split.fold}" if is_fold(split) else ""
    return f"there {'is 1 group' if count == 1 else f'are {count} groups'}{beside}"


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
    named = [part_named(text) for text in parts.texts]
    wrong = [text for text, part in zip(parts.texts, named, strict=True) if not part]
    if wrong:
        raise UserSpecError(
            f"{field} must hold train, validation (or val) and test, but has "
            f"{_some([repr(text) for text in wrong])}"
        )
    of_rows = np.array([PARTS.index(part) for part in named], dtype=np.intp)[parts.codes]
    division = Division(*(np.flatnonzero(of_rows == part) for part in range(3)))
    for part, share, rows in zip(
        PARTS, (split.train, split.validation, split.test), division, strict=True
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
