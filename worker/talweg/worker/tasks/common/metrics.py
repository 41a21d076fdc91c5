"""The metrics as plain functions of arrays.

Each is called after every epoch, on validation data that may be small: so they are written on
numpy alone, where scikit-learn's checks would cost more than the epoch. None stands for a value
that the samples leave undefined, such as an area under the ROC curve of one class.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NUM_BINS = 15
"""Bins of the expected calibration error."""


def r2(y_true: Floats, y_pred: Floats) -> float | None:
    """Share of the variance explained, averaged over the targets that vary.

    Args:
        y_true: (N, K).
        y_pred: (N, K).
    """
    # Of equal targets the mean may differ by its rounding: their variance does not tell.
    varies = (y_true != y_true[:1]).any(axis=0)
    if not varies.any():
        return None
    total = np.square(y_true - y_true.mean(axis=0)).sum(axis=0)
    rest = np.square(y_true - y_pred).sum(axis=0)
    return float((1 - rest[varies] / total[varies]).mean())


def pinball(y_true: Floats, y_pred: Floats, quantiles: Floats) -> float:
    """Mean of max(q (y - p), (q - 1)(y - p)).

    Args:
        y_true: (N, K, 1).
        y_pred: (N, K, Q), or (N, K, 1) for the same prediction under each quantile.
        quantiles: (Q,).
    """
    error = y_true - y_pred
    return float(np.maximum(quantiles * error, (quantiles - 1) * error).mean())


def f1_by_class(y_true: NDArray[np.int64], y_pred: NDArray[np.int64], num_classes: int) -> Floats:
    """Return F1 of each class that stands in the truth or the predictions, in their order."""
    pairs = np.bincount(num_classes * y_true + y_pred, minlength=num_classes**2)
    confusion = pairs.reshape(num_classes, num_classes)
    counts = confusion.sum(axis=0) + confusion.sum(axis=1)
    known = counts > 0
    result: Floats = 2 * np.diagonal(confusion)[known] / counts[known]
    return result


def f1_by_label(y_true: NDArray[Any], y_pred: NDArray[Any]) -> Floats:
    """Return F1 of each label that is in the truth or the predictions; both (N, L) of 0 and 1."""
    hits = (y_true * y_pred).sum(axis=0)
    counts = y_true.sum(axis=0) + y_pred.sum(axis=0)
    known = counts > 0
    result: Floats = 2 * hits[known] / counts[known]
    return result


def auroc_and_average_precision(
    y_true: NDArray[np.int64], scores: Floats
) -> tuple[float | None, float | None]:
    """Return the area under the ROC curve, and under the precision-recall curve by steps.

    Args:
        y_true: 0 and 1 (N,).
        scores: Higher for 1 (N,); ties count as one threshold.
    """
    num_positive = int(y_true.sum())
    if num_positive == 0:
        return None, None
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    last_of_ties = np.append(ranked[1:] != ranked[:-1], True)
    chosen = np.flatnonzero(last_of_ties) + 1
    hits = np.cumsum(y_true[order])[last_of_ties]
    gained = np.diff(hits, prepend=0)
    average_precision = float((gained * hits / chosen).sum() / num_positive)
    num_negative = len(y_true) - num_positive
    if num_negative == 0:
        return None, average_precision
    misses = chosen - hits
    # Each step of the curve is a trapezium: ties go diagonally.
    area = (np.diff(misses, prepend=0) * (hits - gained / 2)).sum()
    return float(area / (num_positive * num_negative)), average_precision


def calibration_error(confidence: Floats, right: NDArray[np.bool_]) -> float:
    """Compute the expected calibration error: the mean gap between confidence and accuracy.

    Args:
        confidence: Probability of what is predicted (N,).
        right: Whether it was right (N,).
    """
    gaps, _ = bin_gaps(confidence, right, NUM_BINS)
    return float(gaps.sum() / len(confidence))


def bin_gaps(confidence: Floats, right: NDArray[Any], count: int) -> tuple[Floats, Floats]:
    """Return by bin |Σ confidence - Σ right| and the number of samples, both (bins,).

    Args:
        confidence: Probability of what is predicted (N,).
        right: Whether, or how often, it was right (N,).
        count: Bins of equal width.
    """
    # Bins are open below and closed above, so that certainty stands in the last.
    bins = np.clip(np.ceil(confidence * count).astype(np.int64) - 1, 0, count - 1)
    gaps: Floats = np.abs(np.bincount(bins, weights=confidence - right, minlength=count))
    return gaps, np.bincount(bins, minlength=count).astype(np.float64)
