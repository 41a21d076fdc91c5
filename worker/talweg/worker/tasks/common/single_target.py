"""Tasks whose samples have one target each, `y`, small enough to judge all outputs together."""

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.data import DataBundle, DataSplit
from talweg.worker.tasks.augmentation import Augmenter
from talweg.worker.tasks.common.base import EvalResult, MetricAccumulator, Predictions, TaskRunner
from talweg.worker.tasks.common.batch import Batch
from talweg.worker.tasks.common.custom_metrics import CustomMetrics

# Inputs go through the network in batches of about 4 MiB, or as large as in training.
_NUMBERS_IN_A_BATCH = 2**20
# Probabilities of the classes, as losses call them.
_MIXED = "target_prob"


class OneTarget(TaskRunner):
    """A task of pred (N, num_outputs) and one target a sample."""

    def __init__(self, spec: JobSpec, bundle: DataBundle) -> None:
        """Take a filled spec and its data."""
        super().__init__(spec, bundle)
        self._y_dims = bundle.train.y.dim()
        self._custom = CustomMetrics(
            spec, bundle.num_targets, target=tuple(bundle.train.y.shape[1:])
        )

    @abstractmethod
    def targets(self, y: Tensor) -> Tensor:
        """Return a part's targets in the shape in which the loss takes them."""

    @abstractmethod
    def predict(self, outputs: Tensor, y: Tensor) -> Predictions:
        """Read the model's outputs.

        Args:
            outputs: (N, num_outputs), on any device.
            y: The targets of the same samples, as the data has them.
        """

    @abstractmethod
    def metrics(self, predictions: Predictions) -> dict[str, float]:
        """Return metrics by name, without those that the samples leave undefined."""

    def all_metrics(self, predictions: Predictions) -> dict[str, float]:
        """Return `metrics`, and those that the job has chosen itself."""
        return {**self.metrics(predictions), **self._custom.values(predictions)}

    def arrays(self, part: DataSplit) -> dict[str, Tensor]:
        """Return x and the target; see `TaskRunner.arrays`."""
        return {"x": part.x, "target": self.targets(part.y)}

    def augment(self, arrays: Mapping[str, Tensor], augmenter: Augmenter) -> dict[str, Tensor]:
        """Change the images, and mix them and their targets; see `TaskRunner.augment`."""
        changed = super().augment(arrays, augmenter)
        if not augmenter.mixes:
            return changed
        mixed = augmenter.mixed(changed["x"])
        target = changed["target"]
        if target.is_floating_point():
            return {**changed, "x": mixed.x, "target": mixed.targets(target)}
        one_hot = F.one_hot(target, self.num_outputs).to(mixed.x.dtype)
        return {**changed, "x": mixed.x, _MIXED: mixed.targets(one_hot)}

    def loss_inputs(self, outputs: Any, batch: Batch) -> dict[str, Tensor]:
        """Return the outputs and the targets, or what was mixed of them."""
        if _MIXED in batch.arrays:
            return {"pred": outputs, _MIXED: batch.arrays[_MIXED]}
        return super().loss_inputs(outputs, batch)

    def y_of(self, target: Tensor) -> Tensor:
        """Return back the targets as the data has them, of those that the loss takes."""
        return target.flatten() if self._y_dims == 1 else target

    def samples_at_once(self, batch_size: int, x: Tensor) -> int:
        """Return as many as hold 4 MiB of inputs, if those are more than in training."""
        return max(batch_size, _NUMBERS_IN_A_BATCH // max(math.prod(x.shape[1:]), 1))

    def evaluation_order(self, count: int) -> Tensor | None:
        """Return None: all samples are judged together; see `TaskRunner.evaluation_order`."""
        return None

    def accumulator(self, model: nn.Module) -> MetricAccumulator:
        """Begin an evaluation of a model."""
        return _Together(self, model)


class _Together(MetricAccumulator):
    """Judges all samples' outputs together, so that the loss does not depend on batches."""

    def __init__(self, task: OneTarget, model: nn.Module) -> None:
        self._task = task
        self._model = model
        self._outputs: list[Tensor] = []
        self._targets: list[Tensor] = []

    def add(self, batch: Batch) -> None:
        self._outputs.append(self._model(batch.x))
        self._targets.append(batch.target)

    def result(self) -> EvalResult:
        outputs, target = _joined(self._outputs), _joined(self._targets)
        loss = float(self._task.criterion({"pred": outputs, "target": target}))
        predictions = self._task.predict(outputs, self._task.y_of(target).cpu())
        # The metrics of numbers that are not finite are none, and numpy would warn of each.
        finite = bool(torch.isfinite(outputs).all())
        metrics = self._task.all_metrics(predictions) if finite else {}
        shown = {"y_true": predictions.y_true, "y_pred": predictions.y_pred}
        return EvalResult({"loss": loss, **metrics}, shown, predictions)


def _joined(batches: list[Tensor]) -> Tensor:
    return torch.cat(batches) if len(batches) > 1 else batches[0]
