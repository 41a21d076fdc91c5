"""A predictor that knows nothing of the inputs: what a model must beat to have learnt anything."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from talweg.spec import goal_of, is_worse_than_trivial, primary_metric
from talweg.v1.jobs_pb2 import Warning
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.data import DataBundle
from talweg.worker.tasks import OneTarget, Predictions, TaskRunner


def trivial_metrics(
    task: TaskRunner, bundle: DataBundle, tested: Predictions
) -> dict[str, float] | None:
    """Evaluate it on the test data, by the task's own metrics.

    It says the mean of the training targets; of classes and labels the most frequent answer, with
    the training data's shares as probabilities.

    Args:
        task: Its metrics are taken.
        bundle: Has the training targets.
        tested: What the model says of the test data.

    Returns:
        The metrics by name; None where a task has no such predictor.
    """
    if not isinstance(task, OneTarget):
        return None
    y = bundle.train.y.numpy()
    count = len(tested.y_true)
    if tested.probabilities is None and tested.y_true.dtype.kind == "f":
        known = y if bundle.target_scaler is None else bundle.target_scaler.unscale(y)
        mean = known.mean(axis=0, dtype=np.float64)
        return task.all_metrics(Predictions(tested.y_true, _each(mean, count)))
    if y.ndim == 2:
        shares = y.mean(axis=0, dtype=np.float64)
        usual = (shares >= 0.5).astype(tested.y_true.dtype)
        return task.all_metrics(
            Predictions(tested.y_true, _each(usual, count), probabilities=_each(shares, count))
        )
    shares = np.bincount(y.astype(int), minlength=max(bundle.num_targets, 2)) / len(y)
    usual = np.asarray(shares.argmax(), tested.y_true.dtype)
    # Two classes without a column each are told by the probability of the second.
    single = tested.probabilities is not None and tested.probabilities.ndim == 1
    probabilities = shares[1] if single else shares
    return task.all_metrics(
        Predictions(tested.y_true, _each(usual, count), probabilities=_each(probabilities, count))
    )


def far_worse(
    spec: JobSpec,
    tested: Mapping[str, float],
    trivial: Mapping[str, float],
    *,
    learning_rate: float,
) -> Warning | None:
    """Warn of a model that is far worse than it, by the metric that jobs are compared by.

    Args:
        spec: The job's.
        tested: What the model reached on the test data, by name.
        trivial: What the predictor reached.
        learning_rate: The optimizer's.
    """
    metric = primary_metric(spec)
    name = metric.partition("/")[2]
    if name not in tested or name not in trivial:
        return None
    value, known = tested[name], trivial[name]
    if math.isfinite(value) and not is_worse_than_trivial(value, known, goal_of(spec, metric)):
        return None
    return Warning(
        kind=Warning.WORSE_THAN_TRIVIAL,
        field="optimizer",
        message=f"{metric} is {value:.4g}, where a predictor that ignores the inputs reaches "
        f"{known:.4g}: training has run away or learnt the wrong thing. Lower the learning rate, "
        f"which was {learning_rate:g}, or set training.clip_norm; check loss, targets and data.",
    )


def _each(answer: Any, count: int) -> NDArray[Any]:
    """Return the same answer for each of so many samples."""
    return np.repeat(np.asarray(answer)[None], count, axis=0)
