"""What the training split of numbers tells of the choice of a loss."""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from talweg.spec import Measured
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.data import DataBundle
from talweg.worker.tasks.common.measures import shortened

Floats = NDArray[np.float64]


FAR = 3.5
"""From so many robust standard deviations from the median on a target lies far off."""
NEAR = 2.5
"""Between these and `FAR` there are few normal numbers, and more where there is a tail."""

# The sd of normal numbers by their median absolute deviation from the median.
_SD_BY_MAD = 1.4826
# The share of normal numbers between NEAR and FAR.
_NORMAL_BETWEEN = math.erf(FAR / math.sqrt(2)) - math.erf(NEAR / math.sqrt(2))
# A tail goes on: beside its far numbers at least one fifth as many lie between, more than normal.
_TAIL_BY_FAR = 0.2
# Zeros among amounts that make them "often exactly 0".
_OFTEN_ZERO = 0.05


def measured(bundle: DataBundle, _: JobSpec) -> Iterator[Measured]:
    """Tell what the training split says of the choice of a loss."""
    y = _columns(bundle)
    low, median, high = y.min(), np.median(y), y.max()
    yield Measured(f"targets from {low:.4g} to {high:.4g}, median {median:.4g}{_skew(y)}")
    zeros = float(np.mean(y == 0))
    if low >= 0 and np.array_equal(y, np.round(y)) and zeros > 0 and np.any(y == 1):
        yield Measured(
            f"whole numbers, none below 0, with both 0 and 1 ({zeros:.1%} are 0)",
            "targets", "counts",
        )  # fmt: skip
    elif low >= 0 and zeros >= _OFTEN_ZERO:
        yield Measured(f"none below 0, and {zeros:.1%} exactly 0", "targets", "amounts")
    else:
        yield from _far(y)


def _columns(bundle: DataBundle) -> Floats:
    """Give the targets as (N, K)."""
    y: Floats = bundle.train.y.numpy().astype(np.float64)
    return y.reshape(len(y), -1)


def _skew(y: Floats) -> str:
    sd = y.std(axis=0)
    if not sd.all():
        return ""
    skews = (((y - y.mean(axis=0)) / sd) ** 3).mean(axis=0)
    return f", skewness {skews[np.abs(skews).argmax()]:.2g}"


def _far(y: Floats) -> Iterator[Measured]:
    """Tell targets apart that lie far off: a few by themselves, or the end of a tail."""
    from_median = np.abs(y - np.median(y, axis=0))
    sd = _SD_BY_MAD * np.median(from_median, axis=0)
    if not sd.all():
        yield Measured(
            "outliers cannot be told: more than half of the targets are one and the same number"
        )
        return
    distance = from_median / sd
    far = int(np.sum(distance > FAR))
    between = int(np.sum((distance > NEAR) & (distance <= FAR)))
    text = (
        f"{far} of {y.size} targets lie beyond {FAR} robust sd (1.4826 times the median absolute "
        "deviation) from the median"
    )
    # By chance a few more lie there than are expected of normal numbers.
    expected = _NORMAL_BETWEEN * y.size
    more = between - expected
    if far and more > 2 * math.sqrt(expected + 1) and more >= _TAIL_BY_FAR * far:
        yield Measured(
            f"{text}, and run on from the {between} between {NEAR} and {FAR}: a tail",
            "heavy_tailed", True, ("outliers",),
        )  # fmt: skip
    else:
        yield Measured(text, "outliers", shortened(far / y.size), ("heavy_tailed",))
