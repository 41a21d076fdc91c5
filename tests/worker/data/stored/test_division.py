"""Splits by group, by time and by a column, and what is warned of."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.worker.data.stored.storing import job_on, store_table

from talweg.v1.spec_pb2 import Split
from talweg.worker import data
from talweg.worker.data.split import Division
from talweg.worker.data.stored.division import divide_groups
from talweg.worker.errors import UserSpecError

SPLIT = Split(train=0.6, validation=0.2, test=0.2)


def groups_of(sizes: list[int]) -> NDArray[np.int64]:
    return np.random.default_rng(1).permutation(np.repeat(np.arange(len(sizes)), sizes))


def sizes_of(division: Division) -> list[int]:
    return [len(part) for part in division]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([10] * 10, [60, 20, 20]),
        ([1] * 50, [30, 10, 10]),
        # No better than these can be had.
        ([40, 30, 20, 10], None),
        ([7, 7, 7, 3, 3, 3, 2, 2, 2, 2, 1, 1], [24, 8, 8]),
    ],
)
def test_groups_stay_together_in_parts_of_about_the_size_asked_for(
    sizes: list[int], expected: list[int] | None, seed: int
) -> None:
    groups = groups_of(sizes)
    split = Split()
    split.CopyFrom(SPLIT)
    split.seed = seed
    division = divide_groups(split, groups, "patient")
    parts = [set(groups[rows]) for rows in division]
    assert not parts[0] & parts[1]
    assert not parts[0] & parts[2]
    assert not parts[1] & parts[2]
    assert sorted(np.concatenate(division)) == list(range(len(groups)))
    if expected is None:
        wanted = [60, 20, 20]
        off = sum(abs(a - b) for a, b in zip(sizes_of(division), wanted, strict=True))
        assert off <= 20
    else:
        assert sizes_of(division) == expected
    again = divide_groups(split, groups, "patient")
    assert all(np.array_equal(a, b) for a, b in zip(division, again, strict=True))


def test_another_seed_gives_other_groups() -> None:
    groups = groups_of([3, 4, 5] * 10)
    tests = set()
    for seed in range(8):
        division = divide_groups(
            Split(train=0.6, validation=0.2, test=0.2, seed=seed), groups, "g"
        )
        tests.add(tuple(sorted(set(groups[division.test]))))
    assert len(tests) == 8


def test_what_is_left_over_stands_in_no_part() -> None:
    division = divide_groups(Split(train=0.3, validation=0.1), groups_of([1] * 100), "g")
    assert sizes_of(division) == [30, 10, 0]


def test_too_few_groups_are_refused() -> None:
    with pytest.raises(UserSpecError, match=r"split\.\w+ must get .* there are 2 groups"):
        divide_groups(SPLIT, groups_of([50, 50]), "patient")


ROWS = 50


def bundle_of(store: Path, roles: dict[str, Any], **columns: Any) -> data.DataBundle:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, ROWS))
    info = store_table(store, {"x": x.tolist(), "y": y.tolist(), **columns})
    return data.load(job_on(info, "regression", {"inputs": ["x"], "target": "y", **roles}))


def kinds_of(bundle: data.DataBundle) -> list[str]:
    assert bundle.stored is not None
    return [warning.message for warning in bundle.stored.warnings]


def test_the_latest_rows_are_the_test(store: Path) -> None:
    order = np.random.default_rng(3).permutation(ROWS)
    days = [datetime(2024, 1, 1) + timedelta(days=int(day)) for day in order]
    bundle = bundle_of(store, {"time": "day"}, day=days)
    assert sorted(order[bundle.train_rows]) == list(range(30))
    assert (len(bundle.validation), len(bundle.test)) == (10, 10)
    by_number = bundle_of(store, {"time": "day"}, day=order.tolist())
    assert by_number.train_rows.tolist() == bundle.train_rows.tolist()


def test_a_row_without_a_time_is_refused(store: Path) -> None:
    days: list[Any] = [float(row) for row in range(ROWS)]
    days[6] = None
    with pytest.raises(UserSpecError, match=r"time: day must have a time .* in 1 rows: 7"):
        bundle_of(store, {"time": "day"}, day=days)
    with pytest.raises(UserSpecError, match="time must name a column of dates or numbers"):
        bundle_of(store, {"time": "day"}, day=["a", "b"] * 25)


def test_a_column_names_the_parts(store: Path) -> None:
    names = ["train", "Validation", "val", "test", "training"]
    bundle = bundle_of(store, {"split": "part"}, part=names * 10)
    assert bundle.train_rows.tolist() == [row for row in range(ROWS) if row % 5 in (0, 4)]
    assert (len(bundle.validation), len(bundle.test)) == (20, 10)


def test_other_names_of_parts_are_refused(store: Path) -> None:
    with pytest.raises(UserSpecError, match=r"part must hold train, .*, but has 'dev', 'oof'"):
        bundle_of(store, {"split": "part"}, part=["train", "dev", "oof", "train", "test"] * 10)
    with pytest.raises(UserSpecError, match="must say train in some rows, but no row does$"):
        bundle_of(store, {"split": "part"}, part=["val", "test"] * 25)
    # Without it early stopping would never look, and nobody would be told.
    with pytest.raises(UserSpecError, match=r"must say validation .* set split.validation to 0"):
        bundle_of(store, {"split": "part"}, part=["train", "test"] * 25)


def test_few_large_groups_are_divided_all_the_same() -> None:
    split = Split(train=0.6, validation=0.2, test=0.2)
    division = divide_groups(split, np.arange(60) // 20, "ward")
    assert sorted(map(len, division)) == [20, 20, 20]
    with pytest.raises(UserSpecError, match="there are 2 groups"):
        divide_groups(split, np.arange(60) // 30, "ward")


def test_groups_divide_the_rows_of_a_table(store: Path) -> None:
    patients = [f"p{row % 10}" for row in range(ROWS)]
    bundle = bundle_of(store, {"group": "patient"}, patient=patients)
    train = {row % 10 for row in bundle.train_rows.tolist()}
    assert len(bundle.train) == 30 == 5 * len(train)
    assert kinds_of(bundle) == []


def test_folds_of_a_table_with_groups_and_classes(store: Path) -> None:
    patients = [f"p{row % 10}" for row in range(ROWS)]
    kinds = ["ill" if row % 10 < 4 else "well" for row in range(ROWS)]
    x = np.random.default_rng(0).normal(size=ROWS).tolist()
    info = store_table(store, {"x": x, "patient": patients, "kind": kinds})
    roles = {"inputs": ["x"], "target": "kind", "group": "patient"}
    rows: list[int] = []
    for fold in (1, 2):
        split = {"fold": fold, "folds": 2, "validation": 0.1}
        spec = job_on(info, "binary", roles, loss="bce_with_logits", split=split)
        assert spec.dataset.stored.facts.num_groups == 10
        assert spec.dataset.stored.facts.smallest_class == 20
        bundle = data.load(spec)
        # Two of the four patients that are ill, and three of the six that are well.
        assert [len(bundle.validation), len(bundle.test)] == [5, 25]
        assert bundle.test.y.sum() == 15
        train = {row % 10 for row in bundle.train_rows.tolist()}
        assert len(train) == 4
        rows += bundle.train_rows.tolist()
        assert kinds_of(bundle) == []
    assert len(rows) == 40


def test_groups_on_both_sides_are_warned_of(store: Path) -> None:
    patients = [row // 2 for row in range(ROWS)]
    (of_id,) = kinds_of(bundle_of(store, {"id": "patient"}, patient=patients))[:1]
    assert "keep them together with dataset.stored.group: patient" in of_id
    # A name that ends in id is enough; one that does not is not.
    assert kinds_of(bundle_of(store, {}, patient_id=patients))
    assert not kinds_of(bundle_of(store, {}, covid=patients))
    # Each row its own: nothing belongs together.
    assert not kinds_of(bundle_of(store, {"id": "row_id"}, row_id=list(range(ROWS))))
    roles = {"group": "patient", "split": "part"}
    part = ["train", "train", "test", "train", "val"] * 10
    _, message = kinds_of(bundle_of(store, roles, patient=patients, part=part))
    assert message.startswith("10 of the 10 values of patient in the test data")


def test_rows_that_stand_in_two_parts_are_warned_of(store: Path) -> None:
    x = [float(row // 2) for row in range(ROWS)]
    info = store_table(store, {"x": x, "y": [2.0 - each**2 for each in x]})
    bundle = data.load(job_on(info, "regression", {"target": "y"}))
    messages = kinds_of(bundle)
    train = {row // 2 for row in bundle.train_rows.tolist()}
    rest = set(range(ROWS)) - set(bundle.train_rows.tolist())
    twice = sum(row // 2 in train for row in rest)
    counted = [int(message.split()[0]) for message in messages if "training data too" in message]
    assert sum(counted) == twice > 5
    # The same inputs with other targets are other rows.
    info = store_table(store, {"x": x, "y": np.random.default_rng(0).normal(size=ROWS).tolist()})
    assert kinds_of(data.load(job_on(info, "regression", {"target": "y"}))) == []


@pytest.mark.parametrize(
    ("column", "relation"),
    [
        ([row % 3 for row in range(ROWS)], "maps one-to-one to"),
        ([f"c{(row + 1) % 3}" for row in range(ROWS)], "maps one-to-one to"),
        ([row % 6 for row in range(ROWS)], ""),
        ([row % 2 for row in range(ROWS)], ""),
        ([float(row) for row in range(ROWS)], ""),
    ],
)
def test_inputs_that_tell_the_class(column: list[Any], relation: str, store: Path) -> None:
    noise = np.random.default_rng(0).normal(size=ROWS).tolist()
    target = ["abc"[row % 3] for row in range(ROWS)]
    info = store_table(store, {"noise": noise, "copy": column, "kind": target})
    messages = kinds_of(data.load(job_on(info, "multiclass", {"target": "kind"}, loss="poly1")))
    assert [message for message in messages if message.startswith("copy")] == (
        [message for message in messages if f"copy {relation} the target kind" in message]
    )
    assert bool(messages) == bool(relation)


@pytest.mark.parametrize(
    ("factor", "noise", "relation"),
    [(1.0, 0, "equals"), (-2.54, 0, "in other units"), (1, 1e-3, "")],
)
def test_inputs_that_are_the_number(
    factor: float, noise: float, relation: str, store: Path
) -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(size=ROWS)
    copy = (factor * y + (factor != 1) + noise * rng.normal(size=ROWS)).tolist()
    info = store_table(store, {"copy": copy, "y": y.tolist()})
    messages = kinds_of(data.load(job_on(info, "regression", {"target": "y"})))
    assert [relation in message for message in messages] == ([True] if relation else [])


def test_a_class_too_rare_for_every_part_is_refused_with_what_to_do(store: Path) -> None:
    kinds = ["rare"] * 2 + ["usual"] * (ROWS - 2)
    info = store_table(store, {"x": [float(row) for row in range(ROWS)], "kind": kinds})
    roles, loss = {"inputs": ["x"], "target": "kind"}, "bce_with_logits"
    bundle = data.load(job_on(info, "binary", roles, loss=loss))
    assert bundle.stored is not None
    assert [note for note in bundle.stored.notes if note.endswith("has no sample of class rare.")]
    split = {"train": 0.3, "validation": 0.2, "test": 0.5}
    spec = job_on(info, "binary", roles, loss=loss, split=split)
    with pytest.raises(
        UserSpecError, match=r"the rarest of [12] samples: set split\.stratified to"
    ):
        data.load(spec)
