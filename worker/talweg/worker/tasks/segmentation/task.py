"""Segmentation: the outputs say what each pixel is."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.tasks_pb2 import Segmentation as Settings
from talweg.worker.data import DataBundle, DataSplit
from talweg.worker.errors import UserSpecError
from talweg.worker.losses import ClassCounts
from talweg.worker.tasks.augmentation import Augmenter
from talweg.worker.tasks.common.array_contract import Array
from talweg.worker.tasks.common.base import EvalResult, Floats, OutputAccumulator, TaskRunner
from talweg.worker.tasks.common.batch import Batch
from talweg.worker.tasks.common.class_counts import count_classes
from talweg.worker.tasks.common.mean_loss import MeanLoss
from talweg.worker.tasks.segmentation.predictions import PixelProbabilities, postprocessor

NUM_SHOWN = 6
"""Images that are kept for plots."""


class Segmentation(TaskRunner):
    """The class of each pixel, or whether it is foreground. Class 0 is the background."""

    contract = {
        "x": Array(("N C H W",), "the images"),
        "mask": Array(("N H W",), "a class index per pixel", whole=True),
    }
    of_pixels = True
    postprocess: PixelProbabilities

    def __init__(self, spec: JobSpec, bundle: DataBundle) -> None:
        """Take a filled spec and its data.

        Raises:
            UserSpecError: There is nothing but background to be told.
        """
        settings = spec.task.segmentation
        self.foreground = settings.target == Settings.foreground
        """Whether foreground alone is told from background."""
        self.threshold = settings.threshold
        """From this probability on a pixel is foreground."""
        self.class_names = ("background", "foreground") if self.foreground else bundle.class_names
        """Names of what a pixel can be."""
        if len(self.class_names) < 2:
            raise UserSpecError(f"dataset must have at least 2 classes, but got {bundle.name}")
        self._ignored = ignored_value(bundle)
        super().__init__(spec, bundle)
        self.postprocess = postprocessor(spec, bundle)

    def class_counts(self, bundle: DataBundle) -> ClassCounts:
        """Count the pixels of each class."""
        mask = bundle.train.arrays["mask"]
        if self._ignored is not None:
            mask = mask[mask != self._ignored]
        counts = count_classes(mask, bundle.num_targets).seen
        if not self.foreground:
            return ClassCounts(counts)
        return ClassCounts((sum(counts[1:]),), (counts[0],))

    def arrays(self, part: DataSplit) -> dict[str, Tensor]:
        """Return x and the target: class indices (N, H, W), or 0 and 1 (N, 1, H, W).

        Pixels that have no class have the value that the loss ignores.
        """
        mask = part.arrays["mask"]
        if not self.foreground:
            return {"x": part.x, "target": mask}
        target = (mask > 0).float()
        if self._ignored is not None:
            target = target.where(mask != self._ignored, self._ignored)
        return {"x": part.x, "target": target[:, None]}

    def augment(self, arrays: Mapping[str, Tensor], augmenter: Augmenter) -> dict[str, Tensor]:
        """Change images and masks alike; see `TaskRunner.augment`."""
        target = arrays["target"]
        mask = target[:, 0].long() if self.foreground else target
        x, mask = augmenter.with_masks(arrays["x"], mask, self._ignored or 0)
        target = mask[:, None].to(target.dtype) if self.foreground else mask
        return {**arrays, "x": x, "target": target}

    def accumulator(self, model: nn.Module) -> OutputAccumulator:
        """Begin an evaluation of a model."""
        return _Masks(self, model)


def ignored_value(bundle: DataBundle) -> int | None:
    """Return the value of the pixels that have no class; None where each pixel has one."""
    facts = bundle.facts
    return facts.ignore_index if facts is not None and facts.HasField("ignore_index") else None


class _Masks(OutputAccumulator):
    """Counts how often each class was taken for which, over all pixels."""

    def __init__(self, task: Segmentation, model: nn.Module) -> None:
        super().__init__(model)
        self._task = task
        num_classes = len(task.class_names)
        self._confusion = np.zeros((num_classes, num_classes), np.int64)
        self._loss = MeanLoss(task.criterion, task.evaluated_at_once)
        self._finite = True
        self._shown: dict[str, NDArray[Any]] = {}

    def take(self, outputs: Tensor, batch: Batch) -> None:
        self._finite &= bool(torch.isfinite(outputs).all())
        self._loss.add(self._task.loss_inputs(outputs, batch), len(batch))
        mask = batch.target.long()
        mask = mask[:, 0] if self._task.foreground else mask
        predicted = self._task.postprocess.classes(outputs, self._task.threshold)
        self._confusion += confusion(mask, predicted, len(self._confusion))
        if not self._shown:
            shown = {"image": batch.x, "mask": mask.byte(), "answer": predicted.byte()}
            self._shown = {name: array[:NUM_SHOWN].cpu().numpy() for name, array in shown.items()}

    def result(self) -> EvalResult:
        loss = {"loss": self._loss.value}
        if not self._finite:
            return EvalResult(loss)
        values = overlaps(self._confusion, self._task.class_names)
        return EvalResult({**loss, **values}, {**self._shown, "confusion": self._confusion})


def confusion(mask: Tensor, predicted: Tensor, num_classes: int) -> NDArray[np.int64]:
    """Count pixels by true and predicted class (C, C); those outside the classes are left out."""
    counted = (mask >= 0) & (mask < num_classes)
    pairs = num_classes * mask[counted] + predicted[counted]
    counts = torch.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)
    result: NDArray[np.int64] = counts.cpu().numpy()
    return result


def overlaps(pairs: NDArray[np.int64], class_names: tuple[str, ...]) -> dict[str, float]:
    """Return mean_iou, dice, precision, recall and each class's IoU.

    From pixels by true and predicted class (C, C).

    Means are over the classes but the first, the background; a class that stands neither in the
    truth nor in the predictions counts for nothing. One that stands in one of them alone has 0 for
    what would divide by 0, as in scikit-learn.
    """
    hits = np.diagonal(pairs).astype(np.float64)
    predicted, true = pairs.sum(axis=0), pairs.sum(axis=1)
    areas = predicted + true
    known = areas > 0
    iou = _shares(hits, areas - hits)
    by_class = {
        "mean_iou": iou,
        "dice": _shares(2 * hits, areas),
        "precision": _shares(hits, predicted),
        "recall": _shares(hits, true),
    }
    values: dict[str, float] = {}
    if known[1:].any():
        values = {
            name: float(of_class[1:][known[1:]].mean()) for name, of_class in by_class.items()
        }
    if len(class_names) > 2:
        named = zip(class_names, iou, known, strict=True)
        values |= {f"iou_{name}": float(value) for name, value, occurs in named if occurs}
    return values


def _shares(parts: Floats, wholes: NDArray[Any]) -> Floats:
    """Return part by whole; 0 where the whole is 0."""
    result: Floats = np.divide(parts, wholes, where=wholes > 0, out=np.zeros_like(parts))
    return result
