"""Sampling that a task or data set cannot have is refused, and balancing twice is warned of."""

from typing import Any

import pytest
from tests.proto.specs import base, checked, classes
from tests.proto.stored.columns import category, dataset, number

from talweg.spec import arrays_of, check, check_continuation, fill, from_dict, task_kind
from talweg.spec.stored import facts_of, name_weights
from talweg.v1.datasets_pb2 import StoredFacts
from talweg.v1.jobs_pb2 import Checkpoint, Warning
from talweg.v1.spec_pb2 import JobSpec


def sampled(value: dict[str, Any], sampling: Any) -> dict[str, Any]:
    return {**value, "training": {"epochs": 2, "sampling": sampling}}


def on_stored(sampling: Any, **roles: Any) -> JobSpec:
    stored = {"name": "houses", "target": "price", **roles}
    return from_dict(sampled(base(dataset={"stored": stored}), sampling))


@pytest.mark.parametrize(
    ("value", "found", "hint"),
    [
        (sampled(base(), "balanced"), "balanced under task regression", "weighted"),
        (
            sampled(base(task="multilabel", dataset="synthetic_multilabel",
                         loss="bce_with_logits"), "balanced"),
            "balanced under task multilabel", "pos_weight: balanced",
        ),
        (
            sampled(base(task="segmentation", dataset="digit_scenes", model="unet", loss="dice"),
                    "balanced"),
            "balanced under task segmentation", "those of pixels",
        ),
        (
            {**classes(task="metric_learning", model="embedder", loss="supcon"),
             "training": {"epochs": 2, "sampling": "balanced"}},
            "balanced under task metric_learning", "samples_per_class",
        ),
        (sampled(classes(), {"weighted": "w"}), "weighted on digits", "upload the data"),
    ],
)  # fmt: skip
def test_what_cannot_be_sampled(value: dict[str, Any], found: str, hint: str) -> None:
    (violation,) = checked(value)[0]
    assert violation.field == "training.sampling"
    assert found in violation.found
    assert hint in violation.hint


def test_balancing_twice_is_warned_of() -> None:
    def kinds(loss: Any, sampling: Any) -> list[Warning.Kind.ValueType]:
        violations, warnings = checked(sampled(classes(loss=loss), sampling))
        assert not violations
        return [warning.kind for warning in warnings]

    balanced = {"cross_entropy": {"weight": "balanced"}}
    assert kinds(balanced, "balanced") == [Warning.BALANCED_TWICE]
    assert kinds({"sum": {"terms": [{"loss": balanced}]}}, "balanced") == [Warning.BALANCED_TWICE]
    assert kinds("cross_entropy", "balanced") == []
    rare = {"synthetic_classification": {"class_shares": [0.95, 0.05]}}
    spec = classes(dataset=rare, task="binary", loss="bce_with_logits", model="mlp")
    assert checked(spec)[1][0].kind == Warning.IMBALANCE_WITHOUT_WEIGHTS
    assert checked(sampled(spec, "balanced")) == ([], [])


def test_the_column_of_weights_is_no_input() -> None:
    data = dataset(number("area", 0, 1), number("w", 0, 3), number("price", -5, 5))
    for spec in (on_stored({"weighted": "w"}), on_stored({"weighted": {}}, weight="w")):
        name_weights(spec)
        assert spec.dataset.stored.weight == spec.training.sampling.weighted.column == "w"
        facts, violations = facts_of(data, spec.dataset.stored, task_kind(spec), arrays_of(spec))
        assert not violations
        assert list(facts.shape) == [1]
        assert fill(spec).dataset.stored.weight == "w"


@pytest.mark.parametrize(
    ("column", "found"),
    [
        (number("w", -1, 3), "numbers from -1 to 3"),
        (number("w", 0, 0), "numbers from 0 to 0"),
        (category("w", 3, 4), "which holds categories"),
        (number("w", 0, 3, num_missing=1, missing_rows=[4]), "1 missing values in"),
    ],
)
def test_columns_that_are_no_weights(column: Any, found: str) -> None:
    data = dataset(number("area", 0, 1), column, number("price", -5, 5))
    spec = on_stored({"weighted": "w"})
    name_weights(spec)
    _, (violation, *_) = facts_of(data, spec.dataset.stored, task_kind(spec), arrays_of(spec))
    assert violation.field == "dataset.stored.weight"
    assert found in violation.found


def test_a_column_must_be_named_once() -> None:
    about = StoredFacts(num_samples=60, shape=[4], num_targets=1)
    for spec, found in (
        (on_stored({"weighted": {}}), "nothing"),
        (on_stored({"weighted": "v"}, weight="w"), '"v" beside dataset.stored.weight: w'),
    ):
        spec.dataset.stored.facts.CopyFrom(about)
        (violation,) = check(fill(spec))[0]
        assert (violation.field, violation.found) == ("training.sampling.weighted.column", found)


def test_a_job_that_goes_on_keeps_its_sampling() -> None:
    before = fill(from_dict(classes()))
    after = fill(from_dict(sampled(classes(), "balanced")))
    after.continued_from.job = "jobs/a"
    after.training.epochs = 70
    violations = check_continuation(before, after, Checkpoint(step=9, epoch=1))
    assert [violation.field for violation in violations] == ["training.sampling"]
