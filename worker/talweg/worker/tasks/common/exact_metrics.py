"""Metrics under names of torchmetrics that are computed here, in double precision.

torchmetrics' own overflow, lose their digits where targets lie far from 0 or near to it, or give a
number for what the samples leave undefined. NaN stands for such.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from talweg.worker.tasks.common.metrics import bin_gaps

Floats = NDArray[np.float64]
Classes = NDArray[np.int64]

# Below this error a difference of logarithms would have fewer digits than two terms of the series.
_SMALL = 1e-2


def log_cosh_error(y_true: Floats, y_pred: Floats) -> float:
    """Mean of log(cosh(e)) with e = y_pred - y_true, however large or small e is."""
    size = np.abs(y_pred - y_true)
    square = np.square(np.minimum(size, _SMALL))
    series = square / 2 - np.square(square) / 12 + square**3 / 45
    far = size + np.log1p(np.exp(-2 * size)) - np.log(2)
    return float(np.where(size < _SMALL, series, far).mean())


def explained_variance(y_true: Floats, y_pred: Floats) -> float:
    """1 - Var(e) / Var(y); undefined where all targets are equal."""
    return float(1 - (y_true - y_pred).var() / y_true.var()) if _varies(y_true) else np.nan


def relative_squared_error(y_true: Floats, y_pred: Floats, *, squared: bool) -> float:
    """Σ e² / Σ (y - mean y)², or its root; undefined where all targets are equal."""
    if not _varies(y_true):
        return np.nan
    error = np.square(y_true - y_pred).mean() / y_true.var()
    return float(error if squared else np.sqrt(error))


def mean_absolute_percentage_error(y_true: Floats, y_pred: Floats) -> float:
    """Mean of |e| / |y|; undefined where a target is 0."""
    return float((np.abs(y_true - y_pred) / np.abs(y_true)).mean()) if y_true.all() else np.nan


def symmetric_percentage_error(y_true: Floats, y_pred: Floats) -> float:
    """Mean of 2 |e| / (|y| + |p|), which is 0 where both are 0."""
    sizes = np.abs(y_true) + np.abs(y_pred)
    parts = np.divide(
        2 * np.abs(y_true - y_pred), sizes, where=sizes > 0, out=np.zeros_like(sizes)
    )
    return float(parts.mean())


def weighted_percentage_error(y_true: Floats, y_pred: Floats) -> float:
    """Σ |e| / Σ |y|; undefined where all targets are 0."""
    return float(np.abs(y_true - y_pred).sum() / np.abs(y_true).sum()) if y_true.any() else np.nan


def normalised_rmse(y_true: Floats, y_pred: Floats, *, normalization: str) -> float:
    """Root mean squared error by what the targets say: size of the mean, range, sd or norm.

    Never below 0: by a mean below 0 the largest error would be the best. Undefined where it would
    divide by 0.
    """
    by = {
        "mean": abs(float(y_true.mean())),
        "range": float(np.ptp(y_true)),
        "std": float(y_true.std()) if _varies(y_true) else 0.0,
        "l2": float(np.linalg.norm(y_true)),
    }[normalization]
    return float(np.sqrt(np.square(y_true - y_pred).mean())) / by if by else np.nan


def spearman(y_true: Floats, y_pred: Floats) -> float:
    """Pearson's correlation of the ranks; ties have their mean rank."""
    if not (_varies(y_true) and _varies(y_pred)):
        return np.nan
    return float(np.corrcoef(_ranks(y_true), _ranks(y_pred))[0, 1])


def critical_success_index(y_true: Floats, y_pred: Floats, *, threshold: float) -> float:
    """Hits by hits, misses and false alarms; undefined where nothing reaches the threshold."""
    true, predicted = y_true >= threshold, y_pred >= threshold
    events = (true | predicted).sum()
    return float((true & predicted).sum() / events) if events else np.nan


def matthews(y_true: Classes, y_pred: Classes) -> float:
    """Matthews' correlation of classes (N,).

    Undefined where all samples are of one class; 0 where one class alone is predicted.
    """
    count = max(int(y_true.max()), int(y_pred.max())) + 1
    true, predicted = (np.bincount(y, minlength=count).astype(float) for y in (y_true, y_pred))
    total = float(len(y_true))
    spreads = [total**2 - np.square(counts).sum() for counts in (true, predicted)]
    if not spreads[0]:
        return np.nan
    together = total * (y_true == y_pred).sum() - (true * predicted).sum()
    return float(together / np.sqrt(spreads[0] * spreads[1])) if spreads[1] else 0.0


def calibration_error(confidence: Floats, right: NDArray[Any], *, n_bins: int, norm: str) -> float:
    """Gap between confidence and accuracy over bins of equal width: their mean, root or largest.

    Bins are open below and closed above, as in the task's own `ece`.
    """
    gaps, counts = bin_gaps(confidence, right, n_bins)
    means = np.divide(gaps, counts, where=counts > 0, out=np.zeros_like(gaps))
    if norm == "max":
        return float(means.max())
    shares = counts / len(confidence)
    return float((shares * means).sum() if norm == "l1" else np.sqrt((shares * means**2).sum()))


IS_DEFINED: Mapping[str, Callable[[Classes, Classes], Any]] = {
    "FBetaScore": lambda y_true, y_pred: y_true.any() or y_pred.any(),
    "JaccardIndex": lambda y_true, y_pred: y_true.any() or y_pred.any(),
    "Recall": lambda y_true, y_pred: y_true.any(),
    "Specificity": lambda y_true, y_pred: not y_true.all(),
}
"""Of metrics of two classes (N,): whether the samples give something to divide by. torchmetrics'
own are 0, the worst, where nothing is wrong."""

OF_NUMBERS: Mapping[str, Callable[..., float]] = {
    "CriticalSuccessIndex": critical_success_index,
    "ExplainedVariance": explained_variance,
    "LogCoshError": log_cosh_error,
    "MeanAbsolutePercentageError": mean_absolute_percentage_error,
    "NormalizedRootMeanSquaredError": normalised_rmse,
    "RelativeSquaredError": relative_squared_error,
    "SpearmanCorrCoef": spearman,
    "SymmetricMeanAbsolutePercentageError": symmetric_percentage_error,
    "WeightedMeanAbsolutePercentageError": weighted_percentage_error,
}
"""Of one target: y_true (N,) and y_pred (N,), and the parameters of torchmetrics' class."""


def _varies(values: Floats) -> bool:
    """Return whether values differ; their variance may be above 0 by rounding alone."""
    return bool((values != values[0]).any())


def _ranks(values: Floats) -> Floats:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks: Floats = (ends - (counts - 1) / 2)[place]
    return ranks
