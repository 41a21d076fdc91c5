"""Metrics of a job's own choice, against other packages that define them, and in training."""

import inspect
import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sklearn_metrics

from talweg.spec import fill, from_dict
from talweg.spec.semantics.custom_metrics import custom_metrics
from talweg.spec.semantics.torchmetrics_classes import CLASSES
from talweg.v1.jobs_pb2 import Job
from talweg.v1.options_pb2 import BINARY, MAXIMIZE, MULTICLASS, REGRESSION
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.errors import UserSpecError
from talweg.worker.tasks.common.base import Predictions
from talweg.worker.tasks.common.custom_metrics import CustomMetrics
from talweg.worker.training import NeverStop, RecordingReporter, run

# The library is imported where it is used: that takes two seconds of each process that collects.
TASKS: dict[int, tuple[str, str, str]] = {
    REGRESSION: ("regression", "", "regression"),
    BINARY: ("binary", "Binary", "classification"),
    MULTICLASS: ("multiclass", "Multiclass", "classification"),
}
DATA = {"regression": "diabetes", "binary": "breast_cancer", "multiclass": "wine"}
LOSS = {"regression": "mse", "binary": "bce_with_logits", "multiclass": "cross_entropy"}
# Those that must be given.
NEEDED: dict[str, dict[str, Any]] = {
    "FBetaScore": {"beta": 2},
    "MinkowskiDistance": {"p": 3},
    "CriticalSuccessIndex": {"threshold": 2},
}
ALL = [(kind, name) for kind, classes in CLASSES.items() for name in classes]


def spec_of(task: Any, *metrics: dict[str, Any], **fields: Any) -> JobSpec:
    name = task if isinstance(task, str) else next(iter(task))
    return fill(
        from_dict({
            "task": task,
            "dataset": DATA[name],
            "model": {"mlp": {"hidden": [8]}},
            "loss": LOSS[name],
            "training": {"epochs": 3},
            "outputs": {"model": False, "plots": False},
            "evaluation": {"metrics": list(metrics)},
            **fields,
        })
    )  # fmt: skip


def of_class(name: str, **parameters: Any) -> dict[str, Any]:
    return {"torchmetrics": {"class": name, "parameters": parameters}}


def numbers() -> Predictions:
    random = np.random.default_rng(0)
    target = random.gamma(2, 50, 80) + 1
    return Predictions(target, target * random.uniform(0.6, 1.5, 80))


def of_two() -> Predictions:
    random = np.random.default_rng(1)
    target = random.integers(0, 2, 80)
    probabilities = np.clip(0.3 * target + random.uniform(0, 0.7, 80), 0, 1)
    return Predictions(target, (probabilities >= 0.5).astype(np.int64), probabilities)


def of_three() -> Predictions:
    random = np.random.default_rng(2)
    target = random.integers(0, 3, 90)
    logits = np.eye(3)[target] + random.normal(size=(90, 3))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return Predictions(target, probabilities.argmax(axis=1), probabilities)


SAMPLES = {"regression": numbers, "binary": of_two, "multiclass": of_three}


def value(task: Any, metric: dict[str, Any], predictions: Predictions | None = None) -> float:
    name = task if isinstance(task, str) else next(iter(task))
    made = CustomMetrics(spec_of(task, {**metric, "name": "m"}), 3)
    return made.values(predictions or SAMPLES[name]())["m"]


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_every_class_of_the_table_is_as_torchmetrics_has_it(kind: int, name: str) -> None:
    task, prefix, module = TASKS[kind]
    known = CLASSES[kind][name]
    cls = getattr(import_module(f"torchmetrics.{module}"), f"{prefix}{name}")
    signature = inspect.signature(cls).parameters
    for parameter in known.declaration.parameters:
        assert parameter.name in signature
    if cls.higher_is_better is not None:
        assert cls.higher_is_better == (known.goal == MAXIMIZE)
    assert np.isfinite(value(task, of_class(name, **NEEDED.get(name, {}))))


@pytest.mark.parametrize("kind", CLASSES)
def test_every_choice_is_taken(kind: int) -> None:
    task, _, _ = TASKS[kind]
    for name, known in CLASSES[kind].items():
        for parameter in known.declaration.parameters:
            for choice in parameter.choices:
                parameters = {**NEEDED.get(name, {}), parameter.name: choice}
                assert np.isfinite(value(task, of_class(name, **parameters))), (name, choice)


def true_of(predictions: Predictions) -> tuple[Any, Any, Any]:
    return predictions.y_true, predictions.y_pred, predictions.probabilities


@pytest.mark.parametrize(
    ("task", "metric", "reference"),
    [
        ("regression", of_class("SpearmanCorrCoef"), lambda y, p, _: stats.spearmanr(y, p)[0]),
        ("regression", of_class("MinkowskiDistance", p=3),
         lambda y, p, _: (np.abs(y - p) ** 3).sum() ** (1 / 3)),
        ("regression", of_class("MeanAbsolutePercentageError"),
         lambda y, p, _: sklearn_metrics.mean_absolute_percentage_error(y, p)),
        ("regression", of_class("TweedieDevianceScore", power=2),
         lambda y, p, _: sklearn_metrics.mean_gamma_deviance(y, p)),
        ("regression", {"formula": "where(abs(pred - target) < k, 1, 0)", "goal": "maximize",
                        "params": {"k": 20}}, lambda y, p, _: (np.abs(y - p) < 20).mean()),
        ("binary", of_class("MatthewsCorrCoef"),
         lambda y, p, _: sklearn_metrics.matthews_corrcoef(y, p)),
        # The threshold is the task's, unless the metric has its own.
        ({"binary": {"threshold": 0.3}}, of_class("Recall"),
         lambda y, _, q: sklearn_metrics.recall_score(y, q >= 0.3)),
        ({"binary": {"threshold": 0.3}}, of_class("Recall", threshold=0.6),
         lambda y, _, q: sklearn_metrics.recall_score(y, q >= 0.6)),
        ("binary", of_class("AUROC", max_fpr=0.3),
         lambda y, _, q: sklearn_metrics.roc_auc_score(y, q, max_fpr=0.3)),
        ("binary", {"formula": "square(pred - target)", "goal": "minimize"},
         lambda y, _, q: sklearn_metrics.brier_score_loss(y, q)),
        ("multiclass", of_class("CohenKappa", weights="quadratic"),
         lambda y, p, _: sklearn_metrics.cohen_kappa_score(y, p, weights="quadratic")),
        ("multiclass", of_class("FBetaScore", beta=2, average="weighted"),
         lambda y, p, _: sklearn_metrics.fbeta_score(y, p, beta=2, average="weighted")),
        ("multiclass", of_class("Accuracy", top_k=2, average="micro"),
         lambda y, _, q: sklearn_metrics.top_k_accuracy_score(y, q, k=2)),
        ("multiclass", {"formula": "square(pred - target)", "goal": "minimize"},
         lambda y, _, q: np.square(q - np.eye(3)[y]).mean()),
    ],
)  # fmt: skip
def test_values_are_those_of_other_packages(
    task: Any, metric: dict[str, Any], reference: Callable[..., float]
) -> None:
    name = task if isinstance(task, str) else next(iter(task))
    y_true, y_pred, probabilities = true_of(SAMPLES[name]())
    assert value(task, metric) == pytest.approx(
        float(reference(y_true, y_pred, probabilities)), rel=1e-5
    )


def test_a_probability_at_the_threshold_is_class_1_as_for_the_task() -> None:
    half = np.full(4, 0.5)
    predictions = Predictions(np.array([1, 1, 1, 0]), np.ones(4), probabilities=half)
    assert value("binary", of_class("HammingDistance"), predictions) == 0.25
    assert value("binary", of_class("Recall"), predictions) == 1


def test_several_targets_give_the_mean_of_theirs() -> None:
    one, other = numbers(), numbers()
    both = Predictions(
        np.stack([one.y_true, other.y_true], axis=1),
        np.stack([one.y_pred, other.y_pred[::-1]], axis=1),
    )
    second = Predictions(other.y_true, other.y_pred[::-1].copy())
    pearson = of_class("PearsonCorrCoef")
    each = [value("regression", pearson, part) for part in (one, second)]
    assert value("regression", pearson, both) == pytest.approx(np.mean(each))


def test_what_the_samples_leave_undefined_has_no_value() -> None:
    ones = Predictions(np.ones(5, np.int64), np.ones(5, np.int64), np.linspace(0.1, 0.9, 5))
    assert CustomMetrics(spec_of("binary", of_class("AUROC")), 2).values(ones) == {}
    same = Predictions(np.ones(5), np.arange(5.0))
    pearson = CustomMetrics(spec_of("regression", of_class("PearsonCorrCoef")), 1)
    assert pearson.values(same) == {}
    logs = {"formula": "log(pred - 10)", "goal": "minimize"}
    assert CustomMetrics(spec_of("regression", logs), 1).values(same) == {}


@pytest.mark.parametrize("name", ["PearsonCorrCoef", "SpearmanCorrCoef"])
def test_a_correlation_with_what_does_not_vary_has_no_value(name: str) -> None:
    spec = spec_of("regression", of_class(name))
    for y_true, y_pred in ((np.ones(5), np.arange(5.0)), (np.arange(5.0), np.ones(5))):
        assert CustomMetrics(spec, 0).values(Predictions(y_true, y_pred)) == {}


RANDOM = np.random.default_rng(3).normal(size=(2, 60))
FAR = RANDOM[0] + 1e8
SMALL = 1e-9 * (RANDOM[0] + 5)
BELOW = RANDOM[0] - 7


@pytest.mark.parametrize(
    ("metric", "y", "p", "expected"),
    [
        # cosh itself overflows from an error of 711 on.
        (of_class("LogCoshError"), FAR, FAR + 1e4, 1e4 - np.log(2)),
        (of_class("LogCoshError"), SMALL, SMALL + 1e-6, 5e-13),
        (of_class("ExplainedVariance"), FAR, FAR + RANDOM[1],
         1 - RANDOM[1].var() / RANDOM[0].var()),
        (of_class("RelativeSquaredError"), FAR, FAR + RANDOM[1],
         np.square(RANDOM[1]).mean() / RANDOM[0].var()),
        (of_class("RelativeSquaredError", squared=False), FAR, FAR + RANDOM[1],
         np.sqrt(np.square(RANDOM[1]).mean() / RANDOM[0].var())),
        # Targets below 1e-6 are no zeros.
        (of_class("MeanAbsolutePercentageError"), SMALL, 3 * SMALL, 2),
        (of_class("SymmetricMeanAbsolutePercentageError"), SMALL, 3 * SMALL, 1),
        (of_class("WeightedMeanAbsolutePercentageError"), SMALL, 3 * SMALL, 2),
        (of_class("SpearmanCorrCoef"), np.array([1.0, 2, 5]), np.array([2.0, 3, 4]), 1),
        # By their mean, which is below 0, the worse of two models was the better.
        (of_class("NormalizedRootMeanSquaredError"), BELOW, BELOW + 2, -2 / BELOW.mean()),
    ],
)  # fmt: skip
def test_numbers_far_from_0_and_near_to_it_keep_their_digits(
    metric: dict[str, Any], y: Any, p: Any, expected: float
) -> None:
    # Digits that the numbers themselves lack at 1e8 do not count.
    assert value("regression", metric, Predictions(y, p)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "y"),
    [
        ("ExplainedVariance", np.full(7, 0.1)),
        ("RelativeSquaredError", np.full(7, 0.1)),
        ("MeanAbsolutePercentageError", np.arange(7.0)),
        ("WeightedMeanAbsolutePercentageError", np.zeros(7)),
    ],
)
def test_what_would_divide_by_0_has_no_value(name: str, y: Any) -> None:
    spec = spec_of("regression", of_class(name))
    assert CustomMetrics(spec, 0).values(Predictions(y, y + np.arange(7))) == {}


@pytest.mark.parametrize("name", ["FBetaScore", "JaccardIndex", "Recall", "Specificity"])
def test_what_was_not_to_be_found_is_no_failure(name: str) -> None:
    made = CustomMetrics(spec_of("binary", of_class(name, **NEEDED.get(name, {}))), 2)
    y = np.full(4, int(name == "Specificity"))
    assert made.values(Predictions(y, y, y.astype(float))) == {}
    some = np.array([0, 1, 1, 0])
    assert list(made.values(Predictions(some, some, some.astype(float))).values()) == [1]


def test_events_that_are_nowhere_have_no_success_index() -> None:
    spec = spec_of("regression", of_class("CriticalSuccessIndex", threshold=9))
    assert CustomMetrics(spec, 1).values(Predictions(np.ones(3), np.zeros(3))) == {}
    reached = Predictions(np.array([9.0, 10, 1]), np.array([9.0, 1, 10]))
    assert CustomMetrics(spec, 1).values(reached) == {"critical_success_index": 1 / 3}


def test_matthews_of_one_class_is_undefined_and_of_one_prediction_0() -> None:
    def of(task: str, y: Any, probabilities: Any) -> dict[str, float]:
        made = CustomMetrics(spec_of(task, of_class("MatthewsCorrCoef")), 2)
        return made.values(Predictions(y, y, probabilities))

    y, likely = np.array([0, 1, 1, 1]), np.full(4, 0.9)
    for task, probabilities in (("binary", likely), ("multiclass", np.c_[1 - likely, likely])):
        assert of(task, y, probabilities) == {"matthews_corr_coef": 0}
        assert of(task, np.ones(4, np.int64), probabilities) == {}


@pytest.mark.parametrize(("norm", "expected"), [("l1", 0.06), ("l2", 0.06), ("max", 0.06)])
def test_what_is_certain_has_no_bin_of_its_own(norm: str, expected: float) -> None:
    # Mean confidence 0.99 and 93% right, in the last of ten bins.
    probabilities = np.repeat([0.98, 1.0], 50)
    y = np.r_[np.ones(50, np.int64), np.arange(50) >= 7]
    metric = of_class("CalibrationError", n_bins=10, norm=norm)
    assert value("binary", metric, Predictions(y, y, probabilities)) == pytest.approx(expected)


def test_defaults_are_those_of_torchmetrics() -> None:
    for kind, name in ALL:
        _, prefix, module = TASKS[kind]
        cls = getattr(import_module(f"torchmetrics.{module}"), f"{prefix}{name}")
        for parameter in CLASSES[kind][name].declaration.parameters:
            # The threshold is the task's.
            if parameter.default and parameter.name != "threshold":
                default = inspect.signature(cls).parameters[parameter.name].default
                assert json.loads(parameter.default) == default, (name, parameter.name)


def test_a_formula_that_cannot_be_computed_ends_the_job_before_it_trains() -> None:
    along = {"formula": "amax(abs(pred - target), 1)", "goal": "minimize"}
    with pytest.raises(UserSpecError, match=r"evaluation.metrics\[0\].formula: .*dimension 1"):
        CustomMetrics(spec_of("regression", along), 1)
    # Of two targets there is a second dimension.
    CustomMetrics(spec_of("regression", along), 2, target=(2,))


def test_training_reports_them_and_stops_by_them() -> None:
    spec = spec_of(
        "regression",
        of_class("SpearmanCorrCoef"),
        {"formula": "abs(pred - target)", "goal": "minimize", "name": "by_hand"},
        training={
            "epochs": 30,
            "early_stopping": {"metric": "val/spearman_corr_coef", "patience": 1},
        },
        optimizer={"adamw": {"learning_rate": 0.005}},
    )
    report = RecordingReporter()
    result = run(spec, report=report, control=NeverStop(), device="cpu")
    assert result.state == Job.SUCCEEDED, result.message
    values = [each for _, each in report.series("val/spearman_corr_coef")]
    # The last evaluation is the first that is no better than the best before it.
    assert 3 <= len(values) < 30
    assert values[-1] <= max(values[:-1])
    assert all(later > earlier for earlier, later in zip(values[:-2], values[1:-1], strict=True))
    # In the target's units, as the task's own metric of the same formula.
    by_hand, mae = dict(report.series("val/by_hand")), dict(report.series("val/mae"))
    assert by_hand == pytest.approx(mae)
    for name in ("test/spearman_corr_coef", "test/by_hand"):
        assert len(report.series(name)) == 1
    assert [facts.name for facts in custom_metrics(spec)] == ["spearman_corr_coef", "by_hand"]


def test_the_page_lists_every_class_with_its_parameters() -> None:
    page = (Path(__file__).parents[3] / "docs/metrics.md").read_text(encoding="utf-8")
    for kind, name in ALL:
        task, _, _ = TASKS[kind]
        section = page.partition(f"### {task.capitalize()}\n")[2].partition("\n##")[0]
        (row,) = (line for line in section.split("\n") if line.startswith(f"| `{name}` |"))
        known = CLASSES[kind][name]
        assert ("maximize" if known.goal == MAXIMIZE else "minimize") in row
        for parameter in known.declaration.parameters:
            assert f"`{parameter.name}`" in row, (name, parameter.name)
