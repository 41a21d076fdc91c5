"""Folds that do not fit are refused at submission, with what would."""

from typing import Any

import pytest
from tests.proto.specs import base, checked, classes

from talweg.spec import Violation, check, fill, from_dict
from talweg.v1.datasets_pb2 import StoredFacts

IRIS: dict[str, Any] = {"dataset": "iris", "task": "multiclass"}
PAIRS: dict[str, Any] = {
    "task": "metric_learning", "dataset": "digit_pairs", "model": "embedder",
    "loss": "contrastive",
}  # fmt: skip


def of_stored(split: dict[str, Any], roles: dict[str, Any], **facts: Any) -> list[Violation]:
    stored = {"name": "houses", "target": "price", **roles}
    spec = from_dict(classes(dataset={"stored": stored}, model="mlp", split=split))
    about = StoredFacts(num_samples=60, shape=[4], num_classes=2, **facts)
    spec.dataset.stored.facts.CopyFrom(about)
    return check(fill(spec))[0]


@pytest.mark.parametrize("role", ["split", "group", "time"])
def test_fractions_do_not_count_where_a_column_divides(role: str) -> None:
    # By the fractions there were 1 sample of 2 classes, and a batch of 1.
    split = {"train": 0.55, "validation": 0.43, "test": 0.02}
    fields = [each.field for each in of_stored(split, {role: "part"})]
    assert "split.test" not in fields
    assert [each.field for each in of_stored(split, {})] == ["split.test"]


@pytest.mark.parametrize(
    "value",
    [
        base(split={"fold": 1, "folds": 442}),
        base(split={"fold": 5, "folds": 5}),
        # As a filled spec says it, and a part of the training data.
        base(split={"fold": 1, "folds": 4, "test": 0.25, "train": 0.3}),
        base(split={"fold": 1, "folds": 2, "validation": 0}),
        classes(**IRIS, model="mlp", split={"fold": 50, "folds": 50}),
        classes(**IRIS, model="mlp", split={"fold": 1, "folds": 150, "stratified": False,
                                            "validation": 0}),
    ],
)  # fmt: skip
def test_folds_that_fit(value: dict[str, Any]) -> None:
    violations, _ = checked(value)
    assert not violations
    split = fill(from_dict(value)).split
    assert split.test == pytest.approx(1 / split.folds)


@pytest.mark.parametrize(
    ("value", "field", "found", "allowed", "hint"),
    [
        (base(split={"fold": 2}), "split.folds", "nothing, with fold: 2", "the number of folds",
         "{fold: 2, folds: 5}"),
        (base(split={"folds": 5}), "split.fold", "nothing, with folds: 5", "1 to 5",
         "one job per fold"),
        (base(split={"fold": 6, "folds": 5}), "split.fold", "6", "1 to 5", ""),
        (base(split={"fold": 0, "folds": 5}), "split.fold", "0", "1", ""),
        (base(split={"fold": 1, "folds": 1}), "split.folds", "1", "2", ""),
        (base(split={"fold": 1, "folds": 443}), "split.folds", "443 folds of 442 samples",
         "2 to 442", ""),
        (base(split={"fold": 1, "folds": 5, "test": 0.3}), "split.test", "0.3 with folds: 5",
         "0.2, a fold", "leave it out"),
        (base(split={"fold": 1, "folds": 2, "validation": 0.5}), "split.validation",
         "0.5 with folds: 2", "less than 0.5", ""),
        (base(split={"fold": 1, "folds": 4, "train": 0.7}), "split", "0.7 + 0.2 + 0.25 = 1.15",
         "at most 1", ""),
        (classes(**IRIS, model="mlp", split={"fold": 1, "folds": 51}), "split.folds",
         "51 folds of 50 samples of the smallest class", "2 to 50 folds, or stratified: false",
         ""),
        (classes(task="binary", model="mlp", loss="bce_with_logits",
                 dataset={"synthetic_classification": {
                     "num_samples": 100, "class_shares": [0.9, 0.1]}},
                 split={"fold": 1, "folds": 11}), "split.folds",
         "11 folds of 10 samples of the smallest class", "2 to 10", ""),
        (classes(task="metric_learning", model="embedder", loss="supcon",
                 split={"fold": 1, "folds": 6}), "split.folds",
         "6 folds of the 10 classes of digits", "2 to 5", "the classes are split"),
        (base(**PAIRS, split={"fold": 1, "folds": 1798}), "split.folds",
         "1798 folds of 1797 images", "2 to 1797", ""),
    ],
)  # fmt: skip
def test_folds_that_do_not_fit(
    value: dict[str, Any], field: str, found: str, allowed: str, hint: str
) -> None:
    (violation,) = checked(value)[0]
    assert violation.field == field
    assert found in violation.found
    assert allowed in violation.allowed
    assert hint in violation.hint


def test_folds_of_stored_data() -> None:
    five = {"fold": 1, "folds": 5}
    assert not of_stored(five, {}, smallest_class=5)
    # What earlier versions wrote does not tell.
    assert not of_stored(five, {})
    (rare,) = of_stored(five, {}, smallest_class=4)
    assert (rare.field, rare.found) == (
        "split.folds", "5 folds of 4 samples of the smallest class",
    )  # fmt: skip
    # Whole groups keep the classes' shares as far as they can.
    assert not of_stored(five, {"group": "ward"}, smallest_class=4, num_groups=5)
    (few,) = of_stored(five, {"group": "ward"}, num_groups=4)
    assert (few.field, few.found) == ("split.folds", "5 folds of 4 groups in ward")
    for role in ("time", "split"):
        (twice,) = of_stored(five, {role: "when"})
        assert (twice.field, twice.found) == (
            "split.folds", f"5 with dataset.stored.{role}: when",
        )  # fmt: skip


def test_a_class_of_which_one_sample_is_left_cannot_be_divided_again() -> None:
    (rare,) = of_stored({"fold": 1, "folds": 2}, {}, smallest_class=2)
    assert rare.field == "split.validation"
    assert "2 folds of 2 samples of the smallest class, of which 1 is left" in rare.found
    assert not of_stored({"fold": 1, "folds": 2}, {}, smallest_class=4)
    assert not of_stored({"fold": 1, "folds": 2, "validation": 0}, {}, smallest_class=2)
