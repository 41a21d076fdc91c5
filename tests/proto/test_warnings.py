"""What is allowed and probably not meant."""

from typing import Any

import pytest
from tests.proto.specs import base, checked, classes, layers

from talweg.v1.jobs_pb2 import Warning

PROBABILITIES = ["flatten", "linear", "softmax"]


def binary(loss: Any, *items: Any) -> dict[str, Any]:
    model: Any = {"sequential": {"layers": list(items)}} if items else "mlp"
    return base(task="binary", dataset="breast_cancer", loss=loss, model=model)


def rare(loss: Any, *shares: float) -> dict[str, Any]:
    params = {"num_samples": 10_000, "num_classes": len(shares), "class_shares": list(shares)}
    return classes(dataset={"synthetic_classification": params}, loss=loss)


def total(*terms: Any) -> dict[str, Any]:
    return {"sum": {"terms": [{"loss": term} for term in terms]}}


# spec, [(kind, field, part of message)]
CASES: dict[str, tuple[dict[str, Any], list[tuple[str, str, str]]]] = {
    "nothing to say": (base(), []),
    "classes": (classes(), []),
    "a batch larger than the data": (
        base(training={"epochs": 1, "batch_size": 500}),
        [("BATCH_ABOVE_DATA", "training.batch_size", "500 is more than the 266 samples")],
    ),
    "a batch of all data": (base(training={"epochs": 1, "batch_size": 266}), []),
    "all steps skipped": (
        base(training={"epochs": 1, "guard": {"skip": {"max_share": 1}}}),
        [("ALL_STEPS_SKIPPABLE", "training.guard.skip.max_share", "use a share below 1")],
    ),
    "probabilities into logits": (
        layers(*PROBABILITIES),
        [("PROBABILITIES_INTO_LOGITS_LOSS", "model.sequential.layers[2].softmax",
          "cross_entropy takes logits")],
    ),
    "probabilities behind a dropout": (
        layers(*PROBABILITIES, "dropout"),
        [("PROBABILITIES_INTO_LOGITS_LOSS", "model.sequential.layers[2].softmax", "softmax")],
    ),
    "a sigmoid the centre": (layers("flatten", "sigmoid", "linear"), []),
    "sigmoid into logits": (
        binary("focal_binary", "linear", "sigmoid"),
        [("PROBABILITIES_INTO_LOGITS_LOSS", "model.sequential.layers[1].sigmoid", "focal_binary")],
    ),
    "numbers between 0 and 1": (
        base(model={"sequential": {"layers": ["linear", "sigmoid"]}}), [],
    ),
    "logits into probabilities": (
        binary("bce"),
        [("LOGITS_INTO_PROBABILITY_LOSS", "loss", "use bce_with_logits"),
         ("LOSS_SELDOM_RIGHT", "loss", "bce_with_logits is better")],
    ),
    "probabilities into probabilities": (
        binary("bce", "linear", "sigmoid"),
        [("LOSS_SELDOM_RIGHT", "loss", "bce_with_logits is better")],
    ),
    "in a sum": (
        binary(total("bce_with_logits", "bce")),
        [("LOGITS_INTO_PROBABILITY_LOSS", "loss.sum.terms[1].loss", "bce_with_logits"),
         ("LOSS_SELDOM_RIGHT", "loss.sum.terms[1].loss", "bce_with_logits")],
    ),
    "targets as they are": (
        base(preprocessing={"standardise_targets": False}),
        [("TARGETS_NOT_STANDARDISED", "preprocessing.standardise_targets", "units")],
    ),
    "counts as they are": (
        base(loss="poisson_nll", preprocessing={"standardise_targets": False}), [],
    ),
    "a high rate": (
        base(optimizer={"adamw": {"learning_rate": 0.1}}),
        [("LEARNING_RATE_ABOVE_USUAL", "optimizer.adamw.learning_rate", "up to 0.03")],
    ),
    "the highest usual rate": (base(optimizer={"adamw": {"learning_rate": 0.03}}), []),
    "the same rate elsewhere": (base(optimizer={"sgd": {"learning_rate": 0.1}}), []),
    "summed": (
        base(loss={"mse": {"reduction": "sum"}}),
        [("REDUCTION_SUM", "loss.mse.reduction", "batch_size")],
    ),
    "summed in a sum": (
        base(loss=total("mae", {"mse": {"reduction": "sum"}})),
        [("REDUCTION_SUM", "loss.sum.terms[1].loss.mse.reduction", "batch_size")],
    ),
    "summed labels": (
        base(task="multilabel", dataset="synthetic_multilabel",
             loss={"asymmetric_multilabel": {"reduction": "sum"}}),
        [("REDUCTION_SUM", "loss.asymmetric_multilabel.reduction", "batch_size")],
    ),
    "summed labels a sample": (
        base(task="multilabel", dataset="synthetic_multilabel",
             loss={"asymmetric_multilabel": {"reduction": "batchmean"}}),
        [],
    ),
    "a rare class": (
        rare("cross_entropy", 0.9, 0.08, 0.02),
        [("IMBALANCE_WITHOUT_WEIGHTS", "dataset.synthetic_classification.class_shares",
          "45 times")],
    ),
    "a class rare by ten": (rare("cross_entropy", 10 / 11, 1 / 11), []),
    "a rare class with weights": (
        rare({"cross_entropy": {"weight": [1, 5, 20]}}, 0.9, 0.08, 0.02), [],
    ),
    "a rare class with weights by counting": (
        rare({"cross_entropy": {"weight": "balanced"}}, 0.9, 0.08, 0.02), [],
    ),
    "a rare class under logit adjustment": (rare("logit_adjusted", 0.9, 0.08, 0.02), []),
    "a rare class with alpha": (rare({"focal": {"alpha": [1, 5, 20]}}, 0.9, 0.08, 0.02), []),
    "a rare class with weights in a sum": (
        rare(total("poly1", {"cross_entropy": {"weight": [1, 5, 20]}}), 0.9, 0.08, 0.02), [],
    ),
    "an alpha that is no class's": (
        rare("symmetric_ce", 0.9, 0.08, 0.02),
        [("IMBALANCE_WITHOUT_WEIGHTS", "dataset.synthetic_classification.class_shares", "")],
    ),
    "rare positives": (
        {**rare("focal_binary", 0.95, 0.05), "task": "binary"},
        [("IMBALANCE_WITHOUT_WEIGHTS", "dataset.synthetic_classification.class_shares", "19")],
    ),
    "rare positives with alpha": (
        {**rare({"focal_binary": {"alpha": 0.9}}, 0.95, 0.05), "task": "binary"}, [],
    ),
    "rare positives with a weight": (
        {**rare({"bce_with_logits": {"pos_weight": [19]}}, 0.95, 0.05), "task": "binary"}, [],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_warnings(name: str) -> None:
    value, expected = CASES[name]
    violations, warnings = checked(value)
    assert violations == []
    assert [(Warning.Kind.Name(w.kind), w.field) for w in warnings] == [
        (kind, field) for kind, field, _ in expected
    ]
    for warning, (_, _, text) in zip(warnings, expected, strict=True):
        assert text in warning.message


def test_warnings_come_beside_violations() -> None:
    violations, warnings = checked(
        base(loss={"mse": {"reduction": "sum"}}, training={"batch_size": 0})
    )
    assert [v.field for v in violations] == ["training.batch_size"]
    assert [w.kind for w in warnings] == [Warning.REDUCTION_SUM]
