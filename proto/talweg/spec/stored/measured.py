"""What the description of a stored data set tells of the task and of the choice of a loss."""

from collections.abc import Iterator

from talweg.spec.advice import Measured
from talweg.v1 import options_pb2
from talweg.v1.options_pb2 import TaskKind
from talweg.v1.stored_datasets_pb2 import DataColumn

_CLASSES = (options_pb2.BINARY, options_pb2.MULTICLASS, options_pb2.METRIC_LEARNING)
# Whole numbers with more distinct values than these are numbers rather than classes.
_MOST_CLASSES = 20
# Between the quartiles of a normal distribution lie so many standard deviations.
_SD_BY_QUARTILES = 1 / 1.349
_FAR = 3.5
_LOWER, _MEDIAN, _UPPER = 1, 2, 3
_DIGITS = 3


def task_for(target: DataColumn) -> str:
    """Name the task that a column to predict suggests: binary, multiclass or regression."""
    few = 2 <= len(target.values) <= _MOST_CLASSES
    is_class = target.type in (DataColumn.CATEGORY, DataColumn.BOOLEAN) or (
        target.type == DataColumn.INTEGER and few
    )
    if not is_class:
        return "regression"
    return "binary" if len(target.values) == 2 else "multiclass"


def measured_in(
    target: DataColumn, task: TaskKind.ValueType, num_samples: int
) -> tuple[Measured, ...]:
    """Tell what a target's description says of the choice of a loss.

    It rests on all samples and on rounded distributions, where `measure` looks at the values of
    the training split.

    Args:
        target: The column to predict.
        task: What is to be done with it.
        num_samples: Of the data set.
    """
    first = Measured(f"{num_samples:,} samples, of which {target.name} is described as a whole")
    if task in _CLASSES:
        return (first, *_classes(target))
    if task == options_pb2.REGRESSION and len(target.quantiles) > _UPPER:
        return (first, *_numbers(target))
    return (first,)


def _classes(target: DataColumn) -> Iterator[Measured]:
    counts = sorted(each.count for each in target.values if each.count)
    if len(counts) < 2:
        return
    yield Measured(f"{len(counts)} classes", "num_classes", len(counts))
    ratio = float(f"{counts[-1] / counts[0]:.{_DIGITS}g}")
    yield Measured(
        f"the most frequent class has {counts[-1]:,} samples, the rarest {counts[0]:,}",
        "imbalance",
        ratio,
    )


def _numbers(target: DataColumn) -> Iterator[Measured]:
    median = target.quantiles[_MEDIAN]
    yield Measured(f"targets from {target.min:.4g} to {target.max:.4g}, median {median:.4g}")
    zeros = next((each.count for each in target.values if float(each.value) == 0), 0)
    if target.type == DataColumn.INTEGER and target.min == 0 and zeros:
        yield Measured(f"whole numbers, none below 0, {zeros:,} of them 0", "targets", "counts")
        return
    sd = (target.quantiles[_UPPER] - target.quantiles[_LOWER]) * _SD_BY_QUARTILES
    width = (target.max - target.min) / max(len(target.histogram), 1)
    if not sd or not width:
        return
    low, high = median - _FAR * sd, median + _FAR * sd
    far = sum(
        count
        for index, count in enumerate(target.histogram)
        if target.min + (index + 1) * width < low or target.min + index * width > high
    )
    total = sum(target.histogram)
    text = f"at least {far:,} of {total:,} targets lie beyond {_FAR} robust sd from the median"
    if far:
        share = float(f"{far / total:.{_DIGITS}g}")
        yield Measured(text, "outliers", share, ("heavy_tailed",))
