"""Tables: from columns to the numbers that a model takes, and to targets."""

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import datasets
from tests.worker.data.stored.storing import job_on, store_arrays, store_table

from talweg.spec import fill, from_dict
from talweg.worker import data
from talweg.worker.errors import UserSpecError

BIRTHDAY = datetime(2024, 7, 1, 6)
BY_SPLIT = {"split": "part"}
# Four rows to learn from, one of each other part.
PARTS = ["train"] * 4 + ["val", "test"]


def bundle_of(store: Path, columns: dict[str, Any], **fields: Any) -> data.DataBundle:
    """Load a regression of the column `target`, divided by the column `part`."""
    info = store_table(store, {**columns, "target": [1.0, 2, 3, 4, 5, 6], "part": PARTS})
    return data.load(job_on(info, "regression", {"target": "target", **BY_SPLIT}, **fields))


def plain(**fields: Any) -> dict[str, Any]:
    return {"preprocessing": {"standardise_inputs": False}, **fields}


def test_a_missing_number_is_the_training_splits_median_and_says_so(store: Path) -> None:
    bundle = bundle_of(store, {"age": [1.0, None, 2, 9, 100, None]}, **plain())
    assert bundle.inputs.names == ("age", "age.is_missing")
    assert bundle.train.x.tolist() == [[1, 0], [2, 1], [2, 0], [9, 0]]
    # The test's values take no part in the median.
    assert bundle.test.x.tolist() == [[2, 1]]
    assert bundle.stored is not None
    (note,) = bundle.stored.notes
    assert "age lacks 2 values" in note
    assert "median, 2," in note


def test_a_category_that_training_has_not_seen_is_the_last_one(store: Path) -> None:
    town = ["b", "a", None, "b", "c", "a"]
    bundle = bundle_of(store, {"town": town}, **plain())
    assert bundle.inputs.names == ("town=a", "town=b", "town=c", "town=other")
    assert bundle.train.x.tolist() == [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 1, 0, 0]]
    assert bundle.validation.x.tolist() == [[0, 0, 0, 1]]
    assert bundle.test.x.tolist() == [[1, 0, 0, 0]]
    assert bundle.inputs.table is not None
    assert bundle.inputs.table.columns[0].unseen == ("c",)


def test_dates_become_days_and_places_on_three_circles(store: Path) -> None:
    day = [BIRTHDAY, datetime(1970, 1, 1), datetime(2023, 1, 2), None, BIRTHDAY, BIRTHDAY]
    bundle = bundle_of(store, {"born": day}, **plain())
    first, epoch, monday, missing = bundle.train.x.double().numpy()
    days = (BIRTHDAY - datetime(1970, 1, 1)) / timedelta(days=1)
    year = (BIRTHDAY - datetime(2024, 1, 1)) / timedelta(days=366)
    # A Monday at six: a quarter of the day, and a 28th of the week.
    expected = [days]
    for turn in (year, 1 / 28, 1 / 4):
        expected += [np.sin(2 * np.pi * turn), np.cos(2 * np.pi * turn)]
    assert first == pytest.approx([*expected, 0], rel=1e-6, abs=1e-6)
    assert epoch[:3] == pytest.approx([0, 0, 1])
    # 1970 began on a Thursday.
    assert epoch[3] == pytest.approx(np.sin(2 * np.pi * 3 / 7))
    assert monday[3:5] == pytest.approx([0, 1])
    median = (datetime(2023, 1, 2) - datetime(1970, 1, 1)).days
    assert missing.tolist() == [median, 0, 0, 0, 0, 0, 0, 1]
    assert bundle.inputs.names == tuple(
        f"born.{part}"
        for part in (
            "days", "year_sin", "year_cos", "week_sin", "week_cos", "day_sin", "day_cos",
            "is_missing",
        )
    )  # fmt: skip


def test_only_numbers_are_standardised(store: Path) -> None:
    columns = {
        "size": [1.0, 2, 3, None, 5, 6],
        "town": ["a", "b", "a", "b", "a", "b"],
        "born": [BIRTHDAY + timedelta(days=30 * row) for row in range(6)],
    }
    bundle, raw = bundle_of(store, columns), bundle_of(store, columns, **plain())
    scaled = [name in ("size", "born.days") for name in bundle.inputs.names]
    for index, is_scaled in enumerate(scaled):
        before, after = raw.train.x[:, index].double(), bundle.train.x[:, index].double()
        if is_scaled:
            before = (before - before.mean()) / before.std(correction=0)
        torch.testing.assert_close(after, before, atol=1e-3, rtol=0)
    assert sum(scaled) == 2
    scaler = bundle.inputs.scaler
    assert scaler is not None
    assert [
        float(sd) for sd, is_scaled in zip(scaler.sd, scaled, strict=True) if not is_scaled
    ] == ([1.0] * 10)


ROWS = 40
KINDS: dict[str, Sequence[Any]] = {
    "number": [row / 3 for row in range(ROWS)],
    "missing": [None if row % 7 == 1 else row * 1.5 for row in range(ROWS)],
    "whole": [row % 5 for row in range(ROWS)],
    "flag": [row % 2 == 0 for row in range(ROWS)],
    "flags": [None if row % 9 == 2 else row % 2 == 0 for row in range(ROWS)],
    "town": [f"t{row % 4}" for row in range(ROWS)],
    "towns": [None if row % 8 == 3 else f"t{row % 3}" for row in range(ROWS)],
    "day": [BIRTHDAY + timedelta(hours=7 * row) for row in range(ROWS)],
    "days": [None if row % 6 == 4 else BIRTHDAY + timedelta(days=row) for row in range(ROWS)],
}


@pytest.mark.parametrize("size", [1, 2, 3])
def test_inputs_have_the_shape_that_the_server_was_told(size: int, store: Path) -> None:
    info = store_table(store, {**KINDS, "target": [float(row % 11) for row in range(ROWS)]})
    for inputs in itertools.combinations(KINDS, size):
        spec = job_on(info, "regression", {"inputs": list(inputs), "target": "target"})
        bundle = data.load(spec)
        assert list(bundle.inputs.shape) == list(spec.dataset.stored.facts.shape)
        assert bundle.train.x.shape[1:] == bundle.inputs.shape
        assert len(bundle.inputs.names) == bundle.inputs.shape[0]
        for part in (bundle.train, bundle.validation, bundle.test):
            assert bool(torch.isfinite(part.x).all())


def test_diabetes_as_a_table_is_the_built_in_diabetes(store: Path) -> None:
    raw = datasets.load_diabetes()
    columns = {name: raw.data[:, index].tolist() for index, name in enumerate(raw.feature_names)}
    info = store_table(store, {**columns, "progression": raw.target.tolist()})
    stored = data.load(job_on(info, "regression", {"target": "progression"}))
    spec = {"task": "regression", "dataset": "diabetes", "model": "mlp", "loss": "mse"}
    built_in = data.load(fill(from_dict(spec)))
    for part in ("train", "validation", "test"):
        one, other = getattr(stored, part), getattr(built_in, part)
        assert torch.equal(one.x, other.x)
        assert torch.equal(one.y, other.y)
    assert stored.train_rows.tolist() == built_in.train_rows.tolist()
    assert stored.inputs.names == built_in.inputs.names
    assert stored.target_names == ("progression",)
    assert (stored.name, stored.digest) == ("houses", info.digest)


TARGET_COLUMNS: dict[str, Sequence[Any]] = {
    "x": [float(row % 13) for row in range(ROWS)],
    "price": [row * 2.5 for row in range(ROWS)],
    "area": [row + 1.0 for row in range(ROWS)],
    "answer": ["no" if row % 3 else "yes" for row in range(ROWS)],
    "flag": [row % 2 == 0 for row in range(ROWS)],
    "stars": [(3, 7, 5)[row % 3] for row in range(ROWS)],
    "wet": [row % 2 for row in range(ROWS)],
    "cold": [row % 3 // 2 for row in range(ROWS)],
}


@pytest.mark.parametrize(
    ("task", "roles", "dtype", "shape", "names"),
    [
        ("regression", {"target": "price"}, torch.float32, (), ("price",)),
        ("regression", {"targets": ["price", "area"]}, torch.float32, (2,), ("price", "area")),
        ("binary", {"target": "answer"}, torch.float32, (), ("no", "yes")),
        ("binary", {"target": "flag"}, torch.float32, (), ("false", "true")),
        ("multiclass", {"target": "stars"}, torch.int64, (), ("3", "5", "7")),
        ("multilabel", {"targets": ["wet", "cold"]}, torch.float32, (2,), ("wet", "cold")),
    ],
)
def test_targets_by_task(
    task: str, roles: Any, dtype: torch.dtype, shape: Any, names: tuple[str, ...], store: Path
) -> None:
    info = store_table(store, TARGET_COLUMNS)
    fields = {"preprocessing": {"standardise_targets": False}} if task == "regression" else {}
    bundle = data.load(job_on(info, task, {"inputs": ["x"], **roles}, **fields))
    assert bundle.train.y.dtype == dtype
    assert tuple(bundle.train.y.shape[1:]) == shape
    assert (bundle.class_names or bundle.target_names) == names
    assert bundle.num_targets == len(names)
    columns = roles.get("targets") or [roles["target"]]
    for target, row in zip(bundle.train.y.tolist(), bundle.train_rows.tolist(), strict=True):
        values = [TARGET_COLUMNS[column][row] for column in columns]
        if task in ("binary", "multiclass"):
            assert names[int(target)] == str(values[0]).lower()
        else:
            assert (target if isinstance(target, list) else [target]) == values


def test_numbers_are_cut_into_ranks(store: Path) -> None:
    info = store_table(store, TARGET_COLUMNS)
    roles = {"inputs": ["x"], "target": "price"}
    bundle = data.load(job_on(info, {"ordinal": {"ranks": 4}}, roles, loss="coral"))
    prices = np.array(TARGET_COLUMNS["price"])[bundle.train_rows]
    assert (
        bundle.train.y.tolist()
        == np.searchsorted(np.quantile(prices, [0.25, 0.5, 0.75]), prices).tolist()
    )
    assert len(bundle.class_names) == 4


def test_difficulty_is_a_role_or_a_column(store: Path) -> None:
    info = store_table(store, TARGET_COLUMNS)
    roles = {"inputs": ["x"], "target": "price", "difficulty": "area"}

    def difficulty(name: str) -> list[float]:
        curriculum = {"difficulty": {"array": {"name": name}}}
        training = {"epochs": 3, "curriculum": curriculum}
        bundle = data.load(job_on(info, "regression", roles, training=training))
        assert bundle.difficulty is not None
        rows = bundle.train_rows.tolist()
        column = "area" if name == "difficulty" else name
        assert bundle.difficulty.tolist() == [TARGET_COLUMNS[column][row] for row in rows]
        return list(bundle.difficulty)

    assert difficulty("difficulty") == difficulty("area") != difficulty("stars")
    with pytest.raises(UserSpecError, match=r"houses@\w{8}, x or price .* 'answer', category"):
        difficulty("answer")


def test_vectors_and_their_targets_may_be_arrays(store: Path) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 4)), rng.normal(size=(30, 2)).astype(np.float32)
    info = store_arrays(store, {"x": x, "y": y})
    spec = job_on(info, "regression", {}, preprocessing={"standardise_inputs": False})
    bundle = data.load(spec)
    assert bundle.inputs.names == ("x0", "x1", "x2", "x3")
    assert bundle.target_names == ("y0", "y1")
    assert torch.equal(bundle.train.x, torch.tensor(x[bundle.train_rows], dtype=torch.float32))
    assert list(bundle.inputs.shape) == list(spec.dataset.stored.facts.shape)


def test_dates_know_no_zone(store: Path) -> None:
    aware = [datetime(2024, 1, 1, 12, tzinfo=UTC)] * 6
    bundle = bundle_of(store, {"day": [each.replace(tzinfo=None) for each in aware]}, **plain())
    assert float(bundle.train.x[0, 0]) == aware[0].timestamp() / 86400
