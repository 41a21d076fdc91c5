"""What a run warns of once it has seen the data, and of nothing twice."""

from typing import Any

import pytest
from tests.worker.training.jobs import job, rare, run

from talweg.v1.jobs_pb2 import Warning
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker import data
from talweg.worker.training.monitors import checks


def warnings_of(**fields: Any) -> list[tuple[str, str]]:
    _, report = run(job(training={"steps": 1}, **fields))
    return [(warning.Kind.Name(warning.kind), warning.field) for warning in report.warnings]


def test_terms_of_a_sum_far_apart_bring_a_warning() -> None:
    def sum_of(weight: float) -> dict[str, Any]:
        return {"sum": {"terms": [{"loss": "mse"}, {"loss": "mae", "weight": weight}]}}

    apart = [("SUM_TERMS_APART", "loss.sum.terms[1].weight")]
    assert warnings_of(loss=sum_of(1e-4)) == apart
    assert warnings_of(loss=sum_of(1e4)) == [("SUM_TERMS_APART", "loss.sum.terms[0].weight")]
    assert warnings_of(loss=sum_of(1)) == []
    # A weight of 0 is meant.
    assert warnings_of(loss=sum_of(0)) == []


@pytest.mark.parametrize(
    ("task", "loss", "weighted"),
    [
        ("binary", "bce_with_logits", {"bce_with_logits": {"pos_weight": [9]}}),
        ("binary", "focal_binary", {"focal_binary": {"alpha": 0.9}}),
        ("multiclass", "cross_entropy", {"cross_entropy": {"weight": [1, 9]}}),
        ("multiclass", "focal", {"focal": {"alpha": [0.1, 0.9]}}),
    ],
)
def test_imbalance_without_weights_brings_a_warning(task: str, loss: str, weighted: Any) -> None:
    def found(spec: JobSpec) -> list[Warning]:
        return list(checks.imbalance_warnings(spec, data.load(spec)))

    (warning,) = found(rare(loss, 0.05, task))
    assert warning.kind == Warning.IMBALANCE_WITHOUT_WEIGHTS
    assert warning.field.startswith(f"loss.{loss}.")
    assert "'class 1'" in warning.message
    assert found(rare(loss, 0.2, task)) == []
    assert found(rare(weighted, 0.05, task)) == []


def test_the_weights_of_a_losss_parts_are_no_class_weights() -> None:
    spec = rare("symmetric_ce", 0.05, "multiclass")
    (warning,) = checks.imbalance_warnings(spec, data.load(spec))
    assert warning.field == "loss.symmetric_ce"


@pytest.mark.parametrize(
    "loss",
    [
        {"cross_entropy": {"weight": "balanced"}},
        {"focal": {"alpha": {"effective_number": {"beta": 0.9}}}},
        "logit_adjusted",
        "ldam",
    ],
)
def test_losses_that_count_the_classes_bring_no_warning(loss: Any) -> None:
    spec = rare(loss, 0.05, "multiclass")
    assert list(checks.imbalance_warnings(spec, data.load(spec))) == []


def test_what_submission_has_warned_of_is_not_said_again() -> None:
    spec = rare("bce_with_logits", 0.05)
    # After one step it is worse than a predictor that says the frequent class.
    spec.diagnostics.trivial = False
    _, report = run(spec)
    assert report.warnings == []
