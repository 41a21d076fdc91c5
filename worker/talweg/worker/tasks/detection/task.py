"""Detection: the outputs say of each location of a grid what object is there, and its box."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from talweg.v1.losses_pb2 import Loss
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.data import DataBundle, DataSplit
from talweg.worker.errors import UserSpecError
from talweg.worker.losses import ClassCounts, LossModule
from talweg.worker.tasks.augmentation import Augmenter
from talweg.worker.tasks.augmentation.boxes import Objects
from talweg.worker.tasks.common.array_contract import Array
from talweg.worker.tasks.common.base import EvalResult, OutputAccumulator, TaskRunner
from talweg.worker.tasks.common.batch import Batch
from talweg.worker.tasks.common.class_counts import count_classes
from talweg.worker.tasks.common.mean_loss import MeanLoss
from talweg.worker.tasks.detection.criterion import ByLocation
from talweg.worker.tasks.detection.metrics import box_metrics
from talweg.worker.tasks.detection.predictions import Boxes, find_boxes, postprocessor
from talweg.worker.tasks.detection.targets import Grid, Targets, assign
from talweg.worker.tasks.segmentation.task import NUM_SHOWN

_PARTS = ("train", "validation", "test")


class Detection(TaskRunner):
    """Objects of an image, each with class and box. Class 0 is the background."""

    contract = {
        "x": Array(("N C H W",), "the images"),
        "boxes": Array(("N K 4",), "x1, y1, x2, y2 in pixels of each object"),
        "classes": Array(("N K",), "a class index from 1 of each object", whole=True),
        "count": Array(("N",), "the objects of each image", whole=True),
    }
    of_boxes = True
    postprocess: Boxes

    def __init__(self, spec: JobSpec, bundle: DataBundle) -> None:
        """Take a filled spec and its data.

        Raises:
            UserSpecError: There is nothing but background to be told, or what is said of the
                objects cannot be.
        """
        if bundle.num_targets < 2:
            raise UserSpecError(f"dataset must have at least 2 classes, but got {bundle.name}")
        self.sides = bundle.inputs.shape[1], bundle.inputs.shape[2]
        """Height and width of the images."""
        stride = _stride(spec)
        self.grid = Grid(self.sides[0] // stride, self.sides[1] // stride, stride)
        """The locations of which the model tells."""
        self.postprocess = postprocessor(spec, bundle)
        self._radius = spec.task.detection.radius
        super().__init__(spec, bundle)
        for name in _PARTS:
            part: DataSplit = getattr(bundle, name)
            check_objects(part, bundle.num_targets, self.sides, f"of the {name} data")

    def adapted(self, loss: Loss, module: LossModule) -> LossModule | None:
        """Take the loss by location; see `TaskRunner.adapted`."""
        return ByLocation(loss) if loss.HasField("detection") else None

    def class_counts(self, bundle: DataBundle) -> ClassCounts:
        """Count the locations that learn each class."""
        return count_classes(self.targets(bundle.train).classes, bundle.num_targets)

    def targets(self, part: DataSplit) -> Targets:
        """Return what each location is to learn."""
        arrays = part.arrays
        return assign(arrays["boxes"], arrays["classes"], arrays["count"], self.grid, self._radius)

    def arrays(self, part: DataSplit) -> dict[str, Tensor]:
        """Return x, what each location is to learn, and the objects as they came."""
        target = self.targets(part)
        objects = {name: part.arrays[name] for name in ("boxes", "classes", "count")}
        return {"x": part.x, "target": target.classes, "target_boxes": target.boxes, **objects}

    def augment(self, arrays: Mapping[str, Tensor], augmenter: Augmenter) -> dict[str, Tensor]:
        """Change images, move their objects, and say anew what each location learns."""
        objects = Objects(arrays["boxes"], arrays["classes"], arrays["count"])
        x, objects = augmenter.with_boxes(arrays["x"], objects)
        boxes, classes, count = objects.boxes, objects.classes, objects.count
        # The grid's locations are in CPU memory.
        target = assign(boxes.cpu(), classes.cpu(), count.cpu(), self.grid, self._radius)
        return {
            **arrays,
            "x": x,
            "target": target.classes.to(x.device),
            "target_boxes": target.boxes.to(x.device),
            "boxes": boxes,
            "classes": classes,
            "count": count,
        }

    def loss_inputs(self, outputs: Any, batch: Batch) -> dict[str, Tensor]:
        """Return the outputs, and classes and boxes of the locations."""
        boxes = batch.arrays["target_boxes"]
        return {"pred": outputs, "target": batch.target, "target_boxes": boxes}

    def accumulator(self, model: nn.Module) -> OutputAccumulator:
        """Begin an evaluation of a model."""
        return _Objects(self, model)


class _Objects(OutputAccumulator):
    """Keeps the predicted boxes, and evaluates them together."""

    def __init__(self, task: Detection, model: nn.Module) -> None:
        super().__init__(model)
        self._task = task
        self._loss = MeanLoss(task.criterion, task.evaluated_at_once)
        self._finite = True
        self._true: list[Mapping[str, NDArray[Any]]] = []
        self._predicted: list[NDArray[np.float32]] = []
        self._images: NDArray[np.float32] | None = None

    def take(self, outputs: Tensor, batch: Batch) -> None:
        self._loss.add(self._task.loss_inputs(outputs, batch), len(batch))
        self._finite &= bool(torch.isfinite(outputs).all())
        if not self._finite:
            return
        self._predicted.append(find_boxes(outputs, self._task.postprocess).cpu().numpy())
        names = ("boxes", "classes", "count")
        self._true.append({name: batch.arrays[name].cpu().numpy() for name in names})
        if self._images is None:
            self._images = batch.x[:NUM_SHOWN].float().cpu().numpy()

    def result(self) -> EvalResult:
        values = {"loss": self._loss.value}
        if not self._finite or self._images is None:
            return EvalResult(values)
        true = {key: np.concatenate([part[key] for part in self._true]) for key in self._true[0]}
        predicted = np.concatenate(self._predicted)
        values |= box_metrics(
            [
                (boxes[:count].astype(np.float64), classes[:count])
                for boxes, classes, count in zip(*true.values(), strict=True)
            ],
            [_boxes_of(image[image[:, 5] > 0].astype(np.float64)) for image in predicted],
        )
        shown = {"image": self._images, **true, "found": predicted}
        return EvalResult(
            values, {name: array[: len(self._images)] for name, array in shown.items()}
        )


def _boxes_of(rows: NDArray[np.float64]) -> tuple[Any, Any, Any]:
    """Return boxes, classes and scores of an image."""
    return rows[:, :4], rows[:, 5].astype(np.int64), rows[:, 4]


def check_objects(part: DataSplit, num_classes: int, sides: tuple[int, int], where: str) -> None:
    """Refuse objects that cannot be.

    Args:
        part: The samples.
        num_classes: Classes, the background among them.
        sides: Height and width of the images.
        where: Which part it is.

    Raises:
        UserSpecError: A count is beyond the places that there are, a class is none, or a box is
            empty, upside down or outside of its image.
    """
    boxes, classes, count = (part.arrays[name] for name in ("boxes", "classes", "count"))
    most = classes.shape[1]
    _refuse((count < 0) | (count > most), count, f"count {where}", f"from 0 to {most}")
    present = torch.arange(most) < count[:, None]
    wrong = ((classes < 1) | (classes >= num_classes)) & present
    _refuse(wrong, classes, f"classes {where}", f"from 1 to {num_classes - 1}")
    corners = boxes.new_tensor([sides[1], sides[0]]).repeat(2)
    is_box = (boxes[..., 2:] > boxes[..., :2]).all(-1) & ((boxes >= 0) & (boxes <= corners)).all(
        -1
    )
    text = f"x1 < x2 and y1 < y2, within 0 to {sides[1]} and 0 to {sides[0]} pixels"
    _refuse(~is_box & present, boxes, f"boxes {where}", text)


def _refuse(wrong: Tensor, values: Tensor, what: str, allowed: str) -> None:
    if bool(wrong.any()):
        at = wrong.nonzero()[0].tolist()
        value = values[tuple(at)].tolist()
        raise UserSpecError(
            f"dataset: {what} must be {allowed}, but got {value} of sample {at[0]}"
        )


def _stride(spec: JobSpec) -> int:
    if spec.model.WhichOneof("kind") == "multi_head":
        return spec.model.multi_head.trunk.unet.patch
    return spec.model.detector.stride
