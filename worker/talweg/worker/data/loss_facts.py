"""What the training split of a data set tells of the choice of a loss.

To look at a further task's data: a function, and its row in `MEASURES`.
"""

import math
from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from talweg.spec import Measured, given_of, heads, task_kind
from talweg.v1.options_pb2 import (
    BINARY,
    DETECTION,
    IMAGE_TRANSLATION,
    METRIC_LEARNING,
    MULTICLASS,
    MULTILABEL,
    MULTITASK,
    ORDINAL,
    REGRESSION,
    SEGMENTATION,
    SELF_SUPERVISED,
    VAE,
    TaskKind,
)
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.tasks_pb2 import MetricLearning, Segmentation
from talweg.worker.data.bundle import DataBundle
from talweg.worker.data.loading import load

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

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
# Images without an object that make them many.
_MANY_EMPTY = 0.1
# Fractions: at least so many of the inputs lie so near to 0 or 1.
_MOSTLY = 0.5
_NEAR_EITHER = 0.1
# Batches of fewer samples are small.
_SMALL_BATCH = 64
# A mean squared error that counts as 0: 100 dB.
_LEAST_ERROR = 1e-10
# Share of its image that half of the objects are below where they are small, and how many times
# the shorter side the longer one is where half of the boxes are long or flat.
_SMALL = 0.01
_LONG = 2.0
# Classes of a part that lack samples, named in a text.
_MOST_NAMED = 5


def measure(spec: JobSpec) -> tuple[Measured, ...]:
    """Look at the training split of a spec's data, and at nothing of the other parts.

    Args:
        spec: Filled and checked as to its task, data set, split and preprocessing. The rest may be
            absent.

    Returns:
        What was found, in the units of the data as they come; nothing for tasks that are not in
        `MEASURES`.

    Raises:
        UserSpecError: The data cannot be divided as asked.
    """
    look = MEASURES.get(task_kind(spec))
    if look is None:
        return ()
    raw = JobSpec()
    raw.CopyFrom(spec)
    raw.preprocessing.standardise_inputs = False
    raw.preprocessing.standardise_targets = False
    bundle = load(raw)
    return (
        Measured(f"{len(bundle.train):,} samples in the training split"),
        *look(bundle, spec),
    )


def _regression(bundle: DataBundle, _: JobSpec) -> Iterator[Measured]:
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
        yield Measured(text, "outliers", _short(far / y.size), ("heavy_tailed",))


def _binary(bundle: DataBundle, _: JobSpec) -> Iterator[Measured]:
    counts = np.bincount(bundle.train.y.numpy().astype(np.int64), minlength=2)
    yield from _imbalance(counts, ("no", "yes"), "answer")


def _multiclass(bundle: DataBundle, _: JobSpec) -> Iterator[Measured]:
    yield Measured(f"{bundle.num_targets} classes", "num_classes", bundle.num_targets)
    yield from _imbalance(_class_counts(bundle), bundle.class_names, "class")


def _ordinal(bundle: DataBundle, _: JobSpec) -> Iterator[Measured]:
    yield Measured(f"{bundle.num_targets} ranks")
    yield from _imbalance(_class_counts(bundle), bundle.class_names, "rank")


def _class_counts(bundle: DataBundle) -> Counts:
    return np.bincount(bundle.train.y.numpy(), minlength=bundle.num_targets)


def _imbalance(counts: Counts, names: tuple[str, ...], what: str) -> Iterator[Measured]:
    """Compare the most frequent with the rarest of those that occur."""
    lacking = [name for name, count in zip(names, counts, strict=True) if not count]
    if lacking:
        some = ", ".join(lacking[:_MOST_NAMED]) + (", …" if lacking[_MOST_NAMED:] else "")
        yield Measured(f"no training sample of {what} {some}")
    occurring = np.flatnonzero(counts)
    if len(occurring) < 2:
        return
    most = int(occurring[counts[occurring].argmax()])
    least = int(occurring[counts[occurring].argmin()])
    yield Measured(
        f"{counts[most]} samples of the most frequent {what} ({names[most]}), {counts[least]} of "
        f"the rarest ({names[least]})",
        "imbalance", _ratio(counts[most], counts[least]),
    )  # fmt: skip


def _multilabel(bundle: DataBundle, _: JobSpec) -> Iterator[Measured]:
    y = bundle.train.y.numpy()
    shares = y.mean(axis=0)
    rarest = int(shares.argmin())
    yield Measured(
        f"{y.sum(axis=1).mean():.3g} of {y.shape[1]} labels a sample; the rarest "
        f"({bundle.class_names[rarest]}) in {shares[rarest]:.1%} of the samples"
    )
    yes = int(y.sum())
    no = y.size - yes
    if yes and no:
        yield Measured(
            f"{no} answers no, {yes} yes", "imbalance", _ratio(max(no, yes), min(no, yes))
        )


def _segmentation(bundle: DataBundle, spec: JobSpec) -> Iterator[Measured]:
    masks = bundle.train.arrays["mask"].numpy()
    counts = np.bincount(masks.reshape(-1), minlength=len(bundle.class_names) or 2)
    share = float(np.mean(masks > 0))
    empty = float(np.mean(~np.any(masks > 0, axis=tuple(range(1, masks.ndim)))))
    if spec.task.segmentation.target == Segmentation.foreground:
        yield Measured("a pixel is foreground or not", "masks", "binary")
        if share:
            yield Measured(f"objects cover {share:.2%} of the pixels", "foreground", _short(share))
    else:
        yield Measured(f"a pixel is one of {len(counts)} classes", "masks", "multiclass")
        occurring = np.flatnonzero(counts)
        rarest = int(occurring[counts[occurring].argmin()])
        of_rarest = counts[rarest] / masks.size
        name = bundle.class_names[rarest] if bundle.class_names else str(rarest)
        yield Measured(
            f"objects cover {share:.2%} of the pixels, the rarest class ({name}) {of_rarest:.2%}",
            "foreground", _short(of_rarest),
        )  # fmt: skip
    if empty >= _MANY_EMPTY:
        yield Measured(f"{empty:.1%} of the images hold no object", "empty_images", True)


def _metric_learning(bundle: DataBundle, spec: JobSpec) -> Iterator[Measured]:
    given = given_of(spec)
    if given != MetricLearning.labels:
        name = MetricLearning.Given.Name(given)
        text = f"{name} are given"
        if given == MetricLearning.pairs:
            text += f", {float(bundle.train.arrays['same'].double().mean()):.1%} of them alike"
        yield Measured(text, "known", name)
        return
    counts = np.unique(bundle.train.y.numpy(), return_counts=True)[1]
    yield Measured(
        f"{len(counts)} classes to train on, of {counts.min()} to {counts.max()} samples",
        "num_classes", len(counts), ("known",),
    )  # fmt: skip
    yield from _small_batches(bundle)


def _detection(bundle: DataBundle, _: JobSpec) -> Iterator[Measured]:
    arrays = {name: array.numpy() for name, array in bundle.train.arrays.items()}
    present = np.arange(arrays["classes"].shape[1]) < arrays["count"][:, None]
    boxes = arrays["boxes"][present]
    if not len(boxes):
        yield Measured("no training image holds an object")
        return
    width, height = (boxes[:, 2:] - boxes[:, :2]).T
    share = float(np.median(width * height) / math.prod(bundle.inputs.shape[1:]))
    longer = float(np.median(np.maximum(width, height) / np.minimum(width, height)))
    yield Measured(f"{len(boxes) / len(present):.3g} objects an image")
    text = f"half of the objects cover {share:.2%} of their image or less"
    yield Measured(text, *(("small_objects", True) if share < _SMALL else ()))
    text = f"the longer side of half of the boxes is {longer:.3g} times the shorter or more"
    yield Measured(text, *(("elongated", True) if longer >= _LONG else ()))


def _multitask(_: DataBundle, spec: JobSpec) -> Iterator[Measured]:
    found = [
        (head.name, "classification" if head.of_classes else "regression") for head in heads(spec)
    ]
    yield Measured(
        ", ".join(f"{name} is a {kind}" for name, kind in found),
        "task_types", [kind for _, kind in found],
    )  # fmt: skip


def _self_supervised(bundle: DataBundle, _: JobSpec) -> Iterator[Measured]:
    yield from _small_batches(bundle)


def _small_batches(bundle: DataBundle) -> Iterator[Measured]:
    """Tell of training splits that fit into a small batch."""
    count = len(bundle.train)
    if 2 <= count < _SMALL_BATCH:
        yield Measured("no batch holds more than the training split", "batch_size", count)


def _image_translation(bundle: DataBundle, _: JobSpec) -> Iterator[Measured]:
    x, image = (bundle.train.arrays[name].numpy() for name in ("x", "image"))
    yield Measured(
        f"targets of {' by '.join(map(str, image.shape[1:]))}, channels first, with pixels from "
        f"{image.min():.4g} to {image.max():.4g}"
    )
    if x.shape == image.shape:
        error = np.square(x.astype(np.float64) - image).mean(axis=(1, 2, 3))
        yield Measured(
            f"as it comes in, an image has a PSNR of {_psnr(error):.3g} dB"
            + ("" if error.any() else ": it is its target")
        )
    black = np.square(image, dtype=np.float64).mean(axis=(1, 2, 3))
    yield Measured(f"a black image has a PSNR of {_psnr(black):.3g} dB")


def _psnr(errors: Floats) -> float:
    """Give the mean over images of what their mean squared errors are in dB."""
    return float(-10 * np.log10(np.maximum(errors, _LEAST_ERROR)).mean())


def _vae(bundle: DataBundle, _: JobSpec) -> Iterator[Measured]:
    x = bundle.train.x.numpy()
    low, high = x.min(), x.max()
    near = float(np.mean((x <= _NEAR_EITHER) | (x >= 1 - _NEAR_EITHER)))
    text = f"inputs from {low:.4g} to {high:.4g}"
    if low < 0 or high > 1:
        yield Measured(text, "inputs", "values")
    else:
        yield Measured(
            f"{text}, {near:.0%} of them within {_NEAR_EITHER} of 0 or 1",
            "inputs", "fractions" if near >= _MOSTLY else "values",
        )  # fmt: skip


def _ratio(most: float, least: float) -> float:
    return _short(most / least)


def _short(value: float) -> float:
    return float(f"{value:.4g}")


MEASURES: Mapping[TaskKind.ValueType, Callable[[DataBundle, JobSpec], Iterator[Measured]]] = {
    REGRESSION: _regression,
    BINARY: _binary,
    MULTICLASS: _multiclass,
    ORDINAL: _ordinal,
    MULTILABEL: _multilabel,
    SEGMENTATION: _segmentation,
    DETECTION: _detection,
    METRIC_LEARNING: _metric_learning,
    SELF_SUPERVISED: _self_supervised,
    VAE: _vae,
    IMAGE_TRANSLATION: _image_translation,
    MULTITASK: _multitask,
}
"""How the data of a task are looked at."""
