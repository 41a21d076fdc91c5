"""Metric learning of pairs and triplets that the data give."""

import hashlib
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from talweg.spec import examples_of
from talweg.v1 import tasks_pb2
from talweg.v1.losses_pb2 import Loss
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.data import DataBundle, DataSplit
from talweg.worker.errors import UserSpecError
from talweg.worker.losses import LossModule
from talweg.worker.tasks.common.array_contract import Array
from talweg.worker.tasks.common.base import (
    DryRun,
    EvalResult,
    Floats,
    MetricAccumulator,
    StepInfo,
    TaskRunner,
)
from talweg.worker.tasks.common.batch import Batch
from talweg.worker.tasks.common.mean_loss import MeanLoss
from talweg.worker.tasks.common.metrics import auroc_and_average_precision
from talweg.worker.tasks.metric_learning.metrics import recall_at
from talweg.worker.tasks.metric_learning.pairing import of_data
from talweg.worker.tasks.metric_learning.predictions import postprocessor
from talweg.worker.tasks.metric_learning.task import MetricLearning, is_euclidean

_MOST_SHOWN = 2000
_LABEL = "y"

Vectors = Mapping[str, Tensor]
"""Embeddings (N, D) of a batch, by the name of the array that they are of."""


class Groups(TaskRunner):
    """Vectors of samples of which the data tell in groups what belongs together."""

    compared: ClassVar[tuple[str, ...]]
    """The arrays of inputs that are compared, all of one shape."""
    beside: ClassVar[tuple[str, ...]] = ()
    """What else the loss takes."""

    def __init__(self, spec: JobSpec, bundle: DataBundle) -> None:
        """Take a filled spec and its data.

        Raises:
            UserSpecError: The arrays that are compared differ in shape.
        """
        super().__init__(spec, bundle)
        self.postprocess = postprocessor(spec, bundle)
        shapes = {name: tuple(bundle.train.arrays[name].shape) for name in self.compared}
        if len(set(shapes.values())) > 1:
            raise UserSpecError(
                f"dataset: {' and '.join(self.compared)} must have one shape, but got {shapes}"
            )
        self.compares_directions = not is_euclidean(spec.loss)
        """Whether the directions of vectors are compared, and not their places."""

    def adapted(self, loss: Loss, module: LossModule) -> LossModule | None:
        """Give the loss the pairs or triplets of the data; see `TaskRunner.adapted`."""
        return of_data(loss, module)

    def arrays(self, part: DataSplit) -> dict[str, Tensor]:
        """Return the first of what is compared as x, the rest by name, and y if there is one."""
        first, *others = self.compared
        names = [*others, *self.beside, *([_LABEL] if _LABEL in part.arrays else [])]
        return {"x": part.arrays[first]} | {name: part.arrays[name] for name in names}

    def loss(self, model: nn.Module, batch: Batch, step_info: StepInfo) -> Tensor:
        """Compare the batch's groups; see `TaskRunner.loss`."""
        inputs = self.compared_inputs(self.vectors(model, batch), batch.arrays)
        return self.criterion_of(inputs, batch)

    def dry_runs(
        self, model: nn.Module, batch: Batch, arrays: Mapping[str, Tensor]
    ) -> Iterator[DryRun]:
        """Return the loss with some groups."""
        inputs = self.compared_inputs(self.vectors(model, batch), batch.arrays)
        yield DryRun("loss", self.criterion, inputs, {})

    def vectors(self, model: nn.Module, batch: Batch) -> Vectors:
        """Return the embeddings of a batch, all of them of one pass through the model."""
        first, *others = self.compared
        parts = [batch.x, *(batch.arrays[name] for name in others)]
        embeddings = self.postprocess(model(torch.cat(parts))).chunk(len(parts))
        return dict(zip((first, *others), embeddings, strict=True))

    def compared_inputs(self, vectors: Vectors, arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the loss's inputs."""
        return {**vectors, **{name: arrays[name] for name in self.beside}}

    def accumulator(self, model: nn.Module) -> MetricAccumulator:
        """Begin an evaluation of a model."""
        return _Distances(self, model)

    @abstractmethod
    def apart(
        self, distances: Mapping[str, Floats], arrays: Mapping[str, NDArray[Any]]
    ) -> tuple[Floats, Floats]:
        """Return the distances of pairs that belong together, and of those that do not.

        Args:
            distances: From the first sample of each group to the others, by array's name.
            arrays: What stands beside the inputs, by name.
        """

    def more(self, alike: Floats, unlike: Floats) -> dict[str, float]:
        """Return what metrics there are of this kind of groups alone."""
        return {}


class Pairs(Groups):
    """Vectors from pairs of which it is known whether they belong together."""

    contract = {
        "left": Array(("N …",), "one sample of each pair"),
        "right": Array(("N …",), "the other"),
        "same": Array(("N",), "1 for positive pairs, else 0", whole=True),
    }
    compared = ("left", "right")
    beside = ("same",)

    def __init__(self, spec: JobSpec, bundle: DataBundle) -> None:
        """Take a filled spec and its data.

        Raises:
            UserSpecError: The data are not pairs of which each belongs together or does not.
        """
        super().__init__(spec, bundle)
        for name in ("train", "validation", "test"):
            same = getattr(bundle, name).arrays["same"]
            wrong = same[(same != 0) & (same != 1)]
            if len(wrong):
                raise UserSpecError(
                    f"dataset: same of the {name} data must be 0 or 1, but got {int(wrong[0])}"
                )

    def apart(
        self, distances: Mapping[str, Floats], arrays: Mapping[str, NDArray[Any]]
    ) -> tuple[Floats, Floats]:
        """Return the distances by what the data say; see `Groups.apart`."""
        same = arrays["same"] == 1
        return distances["right"][same], distances["right"][~same]


class Triplets(Groups):
    """Vectors from triplets of a sample, one like it and one unlike it."""

    contract = {
        "anchor": Array(("N …",), "the anchor"),
        "positive": Array(("N …",), "the positive: a sample of the same class"),
        "negative": Array(("N …",), "the negative: a sample of another class"),
    }
    compared = ("anchor", "positive", "negative")

    def apart(
        self, distances: Mapping[str, Floats], arrays: Mapping[str, NDArray[Any]]
    ) -> tuple[Floats, Floats]:
        """Return the distances from the anchors; see `Groups.apart`."""
        return distances["positive"], distances["negative"]

    def more(self, alike: Floats, unlike: Floats) -> dict[str, float]:
        """Return the share of triplets that are told right."""
        return {"triplet_accuracy": float((alike < unlike).mean())}


def runner(spec: JobSpec, bundle: DataBundle) -> TaskRunner:
    """Make the runner of metric learning from labels, or from what else the data give."""
    by_given: dict[int, type[TaskRunner]] = {
        tasks_pb2.MetricLearning.labels: MetricLearning,
        tasks_pb2.MetricLearning.pairs: Pairs,
        tasks_pb2.MetricLearning.triplets: Triplets,
    }
    return by_given[examples_of(spec)](spec, bundle)


class _Distances(MetricAccumulator):
    """Judges all groups together, by the distances within them."""

    def __init__(self, task: Groups, model: nn.Module) -> None:
        self._task = task
        self._model = model
        self._loss = MeanLoss(task.criterion, task.evaluated_at_once)
        self._vectors: list[Vectors] = []
        self._arrays: list[Mapping[str, Tensor]] = []
        # The first samples that were met, and which groups began with one for the first time.
        self._met: set[bytes] = set()
        self._new: list[bool] = []

    def add(self, batch: Batch) -> None:
        vectors = self._task.vectors(self._model, batch)
        self._loss.add(self._task.compared_inputs(vectors, batch.arrays), len(batch))
        self._vectors.append(vectors)
        for sample in batch.x.cpu().numpy():
            key = hashlib.sha256(sample.tobytes()).digest()
            self._new.append(key not in self._met)
            self._met.add(key)
        known = {*self._task.beside, _LABEL} & batch.arrays.keys()
        self._arrays.append({name: batch.arrays[name] for name in known})

    def result(self) -> EvalResult:
        task = self._task
        arrays = {
            name: torch.cat([batch[name] for batch in self._arrays]).cpu().numpy()
            for name in self._arrays[0]
        }
        embeddings = {
            name: torch.cat([batch[name] for batch in self._vectors]).to("cpu", torch.float64)
            for name in task.compared
        }
        vectors = {
            name: (F.normalize(each, dim=1) if task.compares_directions else each).numpy()
            for name, each in embeddings.items()
        }
        first, *others = task.compared
        distances = {
            name: np.linalg.norm(vectors[first] - vectors[name], axis=1) for name in others
        }
        alike, unlike = task.apart(distances, arrays)
        values = {"loss": self._loss.value}
        # Neighbours of numbers that are not finite are none.
        if all(np.isfinite(each).all() for each in vectors.values()):
            values |= task.more(alike, unlike)
            same = np.repeat(np.array([1, 0]), [len(alike), len(unlike)])
            auroc, _ = auroc_and_average_precision(same, -np.concatenate([alike, unlike]))
            if auroc is not None:
                values["verification_auroc"] = auroc
            new = np.array(self._new)
            # A sample that stands first in several groups would find itself.
            if _LABEL in arrays and new.sum() > 1:
                recalls = recall_at(vectors[first][new], arrays[_LABEL][new], (1, 5))
                values["recall_at_1"], values["recall_at_5"] = recalls
        shown: dict[str, NDArray[Any]] = {}
        if len(alike) and len(unlike):
            shown = {"alike": alike.astype(np.float32), "unlike": unlike.astype(np.float32)}
        if _LABEL in arrays:
            shown["embeddings"] = embeddings[first][:_MOST_SHOWN].float().numpy()
            shown["labels"] = arrays[_LABEL][:_MOST_SHOWN]
        return EvalResult(values, shown)
