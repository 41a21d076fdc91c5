"""What settings are chosen by and values compared by: filled where absent, or refused."""

from typing import Any

import pytest
from tests.proto.specs import base
from tests.proto.sweeps.samples import space, sweep, values

from talweg.spec import fill
from talweg.spec.sweeps import (
    Plan,
    check_objective,
    check_sweep,
    fill_objective,
    fill_sweep,
    first_settings,
)
from talweg.v1.sweeps_pb2 import SweepSpec

# sweep, metrics of objective and comparison that are filled
OBJECTIVES: list[tuple[dict[str, Any], str, str]] = [
    ({}, "val/mae", ""),
    ({"objective": "val/rmse", "compare": "loss"}, "val/rmse", "test/rmse"),
    ({"compare": {"path": "loss", "metric": "test/r2"}}, "val/mae", "test/r2"),
]


def checked(fields: dict[str, Any]) -> tuple[SweepSpec, list[str]]:
    spec = fill_sweep(sweep(**fields))
    assert check_sweep(spec) == []
    plan = Plan(spec)
    jobs = [fill(plan.job(setting, 0)) for setting in first_settings(plan)]
    fill_objective(spec, jobs[0])
    return spec, [str(each) for each in check_objective(spec, jobs)]


@pytest.mark.parametrize(("fields", "objective", "compared"), OBJECTIVES)
def test_metrics_are_filled(fields: dict[str, Any], objective: str, compared: str) -> None:
    spec, violations = checked(fields)
    assert violations == []
    assert (spec.objective.metric, spec.compare.metric) == (objective, compared)


def test_a_trial_that_the_samples_of_settings_have_not_may_be_stopped() -> None:
    lengths = values("training.epochs", 10, 100), values("training.evaluate_every_epochs", 10, 1)
    _, violations = checked(space(*lengths, pruning={"asha": {"min_evaluations": 100}}))
    assert violations == []
    _, violations = checked(space(*lengths, pruning={"asha": {"min_evaluations": 101}}))
    assert "a number <= 100" in violations[0]


LOSS_OF_BASE = space(values("training.batch_size", 8, 16), objective="val/loss")

# sweep, beginning of the violation, words in it
REFUSED: list[tuple[dict[str, Any], str, list[str]]] = [
    (
        {"pruning": {"asha": {"min_evaluations": 500}}},
        "pruning.asha.min_evaluations:",
        ["no trial would be stopped"],
    ),
    ({"objective": "val/loss"}, "objective.metric:", ["varies what the loss is", "val/mae"]),
    (
        space(values("loss.huber.delta", 1, 2), objective="val/loss"),
        "objective.metric:",
        ["varies what the loss is"],
    ),
    (
        space(values("preprocessing.standardise_targets", True, False), objective="val/loss"),
        "objective.metric:",
        ["varies what the loss is"],
    ),
    (
        space(
            values("loss.multi_quantile.quantiles", [0.5], [0.1, 0.9]),
            base=base(loss={"multi_quantile": {"quantiles": [0.5]}}),
            objective="val/pinball",
        ),
        "objective.metric:",
        ["one of val/mae, val/rmse, val/r2", "varies what this metric is"],
    ),
    ({"objective": "val/maee"}, "objective.metric:", ["did you mean 'val/mae'"]),
    ({"objective": "val/accuracy"}, "objective.metric:", ["one of val/mae"]),
    (
        {"compare": {"path": "loss", "metric": "val/mae"}},
        "compare.metric:",
        ["one of test/mae"],
    ),
    (
        {"compare": {"path": "loss", "metric": "test/loss"}},
        "compare.metric:",
        ["varies what the loss is"],
    ),
    (
        {"base": base(split={"validation": 0, "train": 0.8, "test": 0.2})},
        "base.split.validation:",
        ["chosen on validation data"],
    ),
    (
        {
            "base": base(split={"validation": 0.2, "train": 0.8, "test": 0}),
            "compare": "loss",
        },
        "base.split.test:",
        ["compared on test data"],
    ),
    (
        {
            "base": base(training={"epochs": 5, "early_stopping": {"metric": "val/rmse"}}),
            "objective": "val/mae",
        },
        "base.training.early_stopping.metric:",
        ["must name one metric"],
    ),
    (
        space(
            values("training.early_stopping.metric", "val/mae", "val/rmse"), objective="val/mae"
        ),
        "space: training.early_stopping.metric:",
        ["must name one metric"],
    ),
]


@pytest.mark.parametrize(("fields", "field", "words"), REFUSED)
def test_objectives_that_decide_nothing(
    fields: dict[str, Any], field: str, words: list[str]
) -> None:
    _, violations = checked(fields)
    assert any(
        text.startswith(field) and all(word in text for word in words) for text in violations
    ), violations


def test_a_loss_that_all_jobs_share_may_decide() -> None:
    assert checked(LOSS_OF_BASE)[1] == []
    assert checked({"base": base(split={"folds": 5, "fold": 2}), "compare": "loss"})[1] == []
