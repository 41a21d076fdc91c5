"""Metrics that a job has chosen itself: of torchmetrics, and formulas."""

import json
import math
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from talweg.spec.formulas import parse
from talweg.spec.plugins import check_parameters
from talweg.spec.semantics.custom_metrics import custom_metric_name
from talweg.spec.semantics.facts import task_kind
from talweg.spec.semantics.torchmetrics_classes import CLASSES, THRESHOLD
from talweg.v1.evaluation_pb2 import CustomMetric, TorchMetric
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.errors import UserSpecError
from talweg.worker.losses.composed.formula import compiled
from talweg.worker.tasks.common import exact_metrics
from talweg.worker.tasks.common.base import Floats, Predictions

Measure = Callable[[Predictions], float]
"""The metric of all predictions; NaN where they leave it undefined."""

# Classes that go by the order of the samples alone.
_RANKING = ("AUROC", "AveragePrecision")
_PREFIXES = {"regression": "", "binary": "Binary", "multiclass": "Multiclass"}


class CustomMetrics:
    """The metrics of a job's choice, each on all samples at once, in the units of the target."""

    def __init__(self, spec: JobSpec, num_classes: int, *, target: tuple[int, ...] = ()) -> None:
        """Make them, so that one that cannot be made ends the job before it trains.

        Args:
            spec: Filled and checked.
            num_classes: Of task multiclass.
            target: The shape of one target, as the data has it.

        Raises:
            UserSpecError: torchmetrics refuses the parameters, or a formula reduces along a
                dimension that is not there.
        """
        self._spec = spec
        self._task = spec.task.WhichOneof("kind") or ""
        self._num_classes = num_classes
        self._target = target
        self._measures: dict[str, Measure] = {
            custom_metric_name(metric): self._measure(metric, f"evaluation.metrics[{index}]")
            for index, metric in enumerate(spec.evaluation.metrics)
        }

    def values(self, predictions: Predictions) -> dict[str, float]:
        """Return the metrics by name, without those that the samples leave undefined.

        Args:
            predictions: Of all samples, at least one.
        """
        values = {name: measure(predictions) for name, measure in self._measures.items()}
        return {name: value for name, value in values.items() if math.isfinite(value)}

    def _measure(self, metric: CustomMetric, path: str) -> Measure:
        if metric.HasField("torchmetrics"):
            return self._of_class(metric.torchmetrics, f"{path}.torchmetrics")
        shape = (self._num_classes,) if self._task == "multiclass" else self._target
        example = torch.ones((2, *shape), dtype=torch.float64)
        try:
            formula = compiled(parse(metric.formula, metric.params))
            formula(example, example)
        except UserSpecError as exc:
            raise UserSpecError(f"{path}.formula: {exc}") from exc
        return lambda predictions: float(formula(*self._numbers(predictions)).double().mean())

    def _numbers(self, predictions: Predictions) -> tuple[Tensor, Tensor]:
        """Return pred and target of a formula: of one shape, float64."""
        if self._task == "regression":
            return _doubles(predictions.y_pred), _doubles(predictions.y_true)
        pred, target = _doubles(predictions.probabilities), _doubles(predictions.y_true)
        if self._task == "multiclass":
            return pred, functional.one_hot(target.long(), pred.shape[1]).double()
        return pred, target

    def _of_class(self, metric: TorchMetric, path: str) -> Measure:
        parameters = self._parameters(metric)
        exact = self._exact(metric.class_name, parameters)
        return self._of_torchmetrics(metric, parameters, path) if exact is None else exact

    def _exact(self, name: str, parameters: Mapping[str, Any]) -> Measure | None:
        """Return the metric as it is computed here; None where torchmetrics' own will do."""
        if self._task == "regression":
            function = exact_metrics.OF_NUMBERS.get(name)
            if function is None:
                return None
            return lambda predictions: _mean_of(
                partial(function, **parameters), *_columns(predictions)
            )
        if name == "MatthewsCorrCoef":
            threshold = parameters.get(THRESHOLD)
            return lambda predictions: exact_metrics.matthews(
                predictions.y_true.astype(np.int64), _classes(predictions, threshold)
            )
        if name == "CalibrationError":
            binning = {name: parameters[name] for name in ("n_bins", "norm")}
            return lambda predictions: exact_metrics.calibration_error(
                *_confidence(predictions), **binning
            )
        return None

    def _of_torchmetrics(
        self, metric: TorchMetric, parameters: Mapping[str, Any], path: str
    ) -> Measure:
        # A second, and only jobs with such metrics need it.
        import torchmetrics.classification  # noqa: PLC0415 - slow
        import torchmetrics.regression  # noqa: PLC0415 - slow

        name = f"{_PREFIXES[self._task]}{metric.class_name}"
        is_regression = self._task == "regression"
        module = torchmetrics.regression if is_regression else torchmetrics.classification
        try:
            with warnings.catch_warnings():
                # That it keeps all samples, which are here anyway.
                warnings.simplefilter("ignore", UserWarning)
                made = getattr(module, name)(**parameters).set_dtype(torch.float64)
        except ValueError as exc:
            raise UserSpecError(
                f"{path}.parameters: torchmetrics refuses {json.dumps(parameters)} for {name}: "
                f"{exc}"
            ) from exc
        if is_regression:
            needs_spread = CLASSES[task_kind(self._spec)][metric.class_name].needs_spread
            return lambda predictions: _mean_over_targets(made, predictions, needs_spread)
        threshold = parameters.get(THRESHOLD)
        if metric.class_name in _RANKING:
            return lambda predictions: _value(
                made, _ranks(predictions), _doubles(predictions.y_true).long()
            )
        is_defined = exact_metrics.IS_DEFINED.get(metric.class_name)

        def measure(predictions: Predictions) -> float:
            pred = _classes_or_probabilities(predictions, threshold)
            if self._task == "binary" and is_defined is not None:
                y_true = predictions.y_true.astype(np.int64)
                if not is_defined(y_true, pred.numpy()):
                    return math.nan
            return _value(made, pred, _doubles(predictions.y_true).long())

        return measure

    def _parameters(self, metric: TorchMetric) -> dict[str, Any]:
        declaration = CLASSES[task_kind(self._spec)][metric.class_name].declaration
        # As they were checked: with defaults, and of the types that the class takes.
        complete, _ = check_parameters(declaration, json.loads(metric.parameters or "{}"), "")
        if self._task == "binary" and THRESHOLD in complete and complete[THRESHOLD] is None:
            complete[THRESHOLD] = self._spec.task.binary.threshold
        if self._task == "multiclass":
            complete["num_classes"] = self._num_classes
        return complete


def _ranks(predictions: Predictions) -> Tensor:
    """Return ranks between 0 and 1 of what the samples are ranked by, of each class its own.

    Such metrics go by the order alone, and take no numbers outside of [0, 1] as they are.
    """
    scores = predictions.ranked_by
    assert scores is not None
    columns = scores.reshape(len(scores), -1).T
    ranks = [np.unique(column, return_inverse=True)[1] for column in columns]
    return _doubles((np.stack(ranks, axis=1).reshape(scores.shape) + 1) / (len(scores) + 2))


def _classes_or_probabilities(predictions: Predictions, threshold: float | None) -> Tensor:
    """Return what a classification metric takes: with a threshold, the classes that it makes.

    torchmetrics takes probabilities above the threshold for class 1, and the task those that reach
    it: so the task's own rule decides.
    """
    probabilities = _doubles(predictions.probabilities)
    return probabilities if threshold is None else (probabilities >= threshold).long()


def _mean_over_targets(metric: Any, predictions: Predictions, needs_spread: bool) -> float:
    """Return the metric of the target, or the mean of those of several."""
    y_true, y_pred = _columns(predictions)
    columns = (*y_true.T, *y_pred.T)
    if needs_spread and any((values == values[0]).all() for values in columns):
        return math.nan
    return _mean_of(lambda y, p: _value(metric, _doubles(p), _doubles(y)), y_true, y_pred)


def _mean_of(function: Callable[[Floats, Floats], float], y_true: Floats, y_pred: Floats) -> float:
    """Return a function of the target, or the mean of those of several; both (N, K).

    NaN where a prediction is not finite, as an exponential of outputs that are.
    """
    if not np.isfinite(y_pred).all():
        return math.nan
    each = [function(*pair) for pair in zip(y_true.T, y_pred.T, strict=True)]
    return sum(each) / len(each)


def _columns(predictions: Predictions) -> tuple[Floats, Floats]:
    """Return y_true and y_pred of numbers as (N, K)."""
    count = len(predictions.y_true)
    y_true, y_pred = (
        np.asarray(values, np.float64).reshape(count, -1)
        for values in (predictions.y_true, predictions.y_pred)
    )
    return y_true, y_pred


def _classes(predictions: Predictions, threshold: float | None) -> NDArray[np.int64]:
    """Return the predicted classes (N,), by a threshold where there is one."""
    probabilities = predictions.probabilities
    assert probabilities is not None
    chosen = probabilities.argmax(axis=1) if threshold is None else probabilities >= threshold
    return np.asarray(chosen, dtype=np.int64)


def _confidence(predictions: Predictions) -> tuple[Floats, NDArray[Any]]:
    """Return what is said to be how likely, and whether it was so (N,).

    Of two classes that is the second, and of several the one that is predicted.
    """
    probabilities = predictions.probabilities
    assert probabilities is not None
    if probabilities.ndim == 1:
        return probabilities, predictions.y_true
    return probabilities.max(axis=1), probabilities.argmax(axis=1) == predictions.y_true


def _value(metric: Any, pred: Tensor, target: Tensor) -> float:
    """Return a metric; NaN where torchmetrics gives none, or says that it means nothing."""
    metric.reset()
    try:
        with warnings.catch_warnings():
            # As of an AUROC where one class is missing, which is then 0.
            warnings.simplefilter("error", UserWarning)
            metric.update(pred.contiguous(), target.contiguous())
            return float(metric.compute())
    except (UserWarning, ValueError):
        return math.nan
    finally:
        metric.reset()


def _doubles(values: Any) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float64))
