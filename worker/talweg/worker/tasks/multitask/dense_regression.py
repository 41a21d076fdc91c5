"""Numbers as one head's part of a multitask job: one of a sample's, or one for each pixel."""

from abc import abstractmethod
from typing import ClassVar

import numpy as np
from torch import Tensor, nn

from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.data import DataBundle, DataSplit
from talweg.worker.tasks.common.array_contract import Array
from talweg.worker.tasks.common.base import EvalResult, OutputAccumulator, TaskRunner
from talweg.worker.tasks.common.batch import Batch
from talweg.worker.tasks.common.mean_loss import MeanLoss
from talweg.worker.tasks.multitask.predictions import of_column
from talweg.worker.tasks.regression.predictions import Numbers as Predicted
from talweg.worker.tasks.segmentation.task import NUM_SHOWN


class Numbers(TaskRunner):
    """Numbers from outputs (N, 1, …), evaluated in their own units."""

    postprocess: Predicted

    def __init__(self, spec: JobSpec, bundle: DataBundle) -> None:
        """Take the spec of this head alone and the data."""
        super().__init__(spec, bundle)
        self.num_outputs = 1
        self.postprocess = Predicted()

    def arrays(self, part: DataSplit) -> dict[str, Tensor]:
        """Return x and the target (N, 1, …)."""
        return {"x": part.x, "target": self.targets(part)[:, None]}

    @abstractmethod
    def targets(self, part: DataSplit) -> Tensor:
        """Return a part's numbers (N, …)."""

    def accumulator(self, model: nn.Module) -> OutputAccumulator:
        """Begin an evaluation of a model."""
        return _Errors(self, model)


class Depth(Numbers):
    """A distance for each pixel."""

    contract = {
        "x": Array(("N C H W",), "the images"),
        "depth": Array(("N H W",), "a distance per pixel"),
    }
    of_pixels: ClassVar[bool] = True

    def targets(self, part: DataSplit) -> Tensor:
        """Return the distances (N, H, W)."""
        return part.arrays["depth"]


class Column(Numbers):
    """One of a sample's numbers."""

    contract = {
        "x": Array(("N …",), "the inputs"),
        "y": Array(("N", "N K"), "the values to predict"),
    }

    def __init__(self, spec: JobSpec, bundle: DataBundle, column: int) -> None:
        """Take the spec of this head alone, the data, and which number it is."""
        super().__init__(spec, bundle)
        self._column = column
        self.postprocess = of_column(bundle, column)

    def targets(self, part: DataSplit) -> Tensor:
        """Return the numbers (N,)."""
        # No reshape to (N, -1), which has no answer for a split without samples.
        return part.y if part.y.ndim == 1 else part.y[:, self._column]


class _Errors(OutputAccumulator):
    """Adds up errors and their squares."""

    def __init__(self, task: Numbers, model: nn.Module) -> None:
        super().__init__(model)
        self._task = task
        self._loss = MeanLoss(task.criterion, task.evaluated_at_once)
        self._sums = np.zeros(2)
        self._count = 0
        self._shown: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]] = {}

    def take(self, outputs: Tensor, batch: Batch) -> None:
        self._loss.add(self._task.loss_inputs(outputs, batch), len(batch))
        error = (outputs - batch.target).double()
        self._sums += [float(error.abs().sum()), float(error.square().sum())]
        self._count += error.numel()
        if self._task.of_pixels and not self._shown:
            shown = {"image": batch.x, "depth": batch.target[:, 0], "answer": outputs[:, 0]}
            self._shown = {name: array[:NUM_SHOWN].cpu().numpy() for name, array in shown.items()}

    def result(self) -> EvalResult:
        mae, mse = self._sums / self._count
        # What an error of 1 is in the target's units.
        (scale,) = self._task.postprocess.sd or (1.0,)
        values = {"loss": self._loss.value, "mae": scale * mae, "rmse": scale * np.sqrt(mse)}
        return EvalResult({name: float(value) for name, value in values.items()}, self._shown)
