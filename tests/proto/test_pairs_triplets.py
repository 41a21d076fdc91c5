"""Metric learning of given pairs and triplets: which data and losses fit."""

from typing import Any

import pytest
from tests.proto.specs import checked, classes

from talweg.spec import (
    arrays_of,
    examples_of,
    fill,
    from_dict,
    inputs_of,
    metrics_of,
    primary_metric,
)
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.tasks_pb2 import MetricLearning


def given(dataset: Any = "digit_pairs", loss: Any = "contrastive", **changes: Any) -> Any:
    """Give a spec of given pairs in order, with some fields replaced."""
    parts = {"task": "metric_learning", "model": "embedder", "dataset": dataset, "loss": loss}
    return classes(**{**parts, **changes})


def total(*terms: Any) -> dict[str, Any]:
    return {"sum": {"terms": [{"loss": term} for term in terms]}}


IN_ORDER: dict[str, dict[str, Any]] = {
    "pairs": given(),
    "triplets": given(
        "digit_triplets", total("triplet", "margin_ranking"),
        training={"batch_size": 30, "early_stopping": {"metric": "val/triplet_accuracy"}},
        split={"train": 0.8, "validation": 0.1, "test": 0.1},
    ),
    "a pair by itself": given(
        loss="cosine_embedding", training={"batch_size": 1},
        model={"embedder": {"trunk": {"mlp": {"batch_norm": True}}}},
    ),
    "a watched loss": given(training={"early_stopping": {}}),
}  # fmt: skip

# spec, field, part of found, part of allowed, part of hint
REFUSED: dict[str, tuple[dict[str, Any], str, str, str, str]] = {
    "a loss of labels with pairs": (
        given(loss="supcon"), "loss", "supcon with given pairs",
        "one of contrastive, cosine_embedding", "supcon takes labels",
    ),
    "a loss of pairs with triplets": (
        given("digit_triplets", total("triplet", "contrastive")), "loss.sum.terms[1].loss",
        "contrastive with given triplets", "one of triplet, margin_ranking",
        "contrastive takes labels or pairs",
    ),
    "a loss with a vector a class with pairs": (
        given(loss="arcface"), "loss", "arcface with given pairs",
        "one of contrastive, cosine_embedding", "arcface takes labels",
    ),
    "triplets that are not there": (
        given("digits", "triplet", task={"metric_learning": {"given": "triplets"}}),
        "task.metric_learning.given", "triplets on digits, which holds x, y", "labels",
        "anchor, positive, negative",
    ),
    "labels that are not there": (
        given(loss="supcon", task={"metric_learning": {"given": "labels"}}),
        "task.metric_learning.given", "labels on digit_pairs, which holds left, right, same, y",
        "pairs", "x, y",
    ),
    "turned pairs": (
        given(task={"metric_learning": {"turned_classes": True}}),
        "task.metric_learning.turned_classes", "true with given pairs", "given: labels", "",
    ),
    "pairs without a part": (
        given({"digit_pairs": {"num_samples": 10}},
              split={"train": 0.8, "validation": 0.05, "test": 0.15}),
        "split.validation", "less than 1 of 10 samples", "at least one sample", "",
    ),
    "a watched metric of triplets": (
        given(training={"early_stopping": {"metric": "val/triplet_accuracy"}}),
        "training.early_stopping.metric", "val/triplet_accuracy", "val/verification_auroc", "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", IN_ORDER)
def test_in_order(name: str) -> None:
    violations, _ = checked(IN_ORDER[name])
    assert violations == []


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    value, field, found, allowed, hint = REFUSED[name]
    violations, _ = checked(value)
    assert [violation.field for violation in violations] == [field]
    (violation,) = violations
    assert found in violation.found
    assert allowed in violation.allowed
    assert hint in violation.hint


def filled(dataset: str, loss: str) -> JobSpec:
    return fill(from_dict(given(dataset, loss)))


def test_what_is_given_follows_from_the_data() -> None:
    pairs, triplets = filled("digit_pairs", "contrastive"), filled("digit_triplets", "triplet")
    assert examples_of(pairs) == MetricLearning.pairs
    assert examples_of(triplets) == MetricLearning.triplets
    assert examples_of(filled("digits", "supcon")) == MetricLearning.labels
    assert inputs_of(pairs) == ("left", "right")
    assert arrays_of(pairs) == ("left", "right", "same")
    assert arrays_of(triplets) == inputs_of(triplets) == ("anchor", "positive", "negative")
    assert inputs_of(from_dict(classes())) == ("x",)


def test_metrics_are_those_that_can_be_told() -> None:
    def names(dataset: str, loss: str) -> list[str]:
        return [metric.name for metric in metrics_of(filled(dataset, loss))]

    recall = ["recall_at_1", "recall_at_5"]
    assert names("digits", "supcon") == [*recall, "verification_auroc"]
    assert names("digit_pairs", "contrastive") == ["verification_auroc", *recall]
    assert names("digit_triplets", "triplet") == [
        "triplet_accuracy", "verification_auroc", *recall,
    ]  # fmt: skip
    assert primary_metric(filled("digit_triplets", "triplet")) == "test/triplet_accuracy"
