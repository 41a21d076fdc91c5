"""Metric learning by labels: the outputs are vectors, near each other for samples of one class."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from talweg.spec import judges_loss, output_of
from talweg.v1.losses_pb2 import Loss
from talweg.v1.options_pb2 import OutputFacts
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.data import DataBundle, DataSplit
from talweg.worker.losses import LossModule
from talweg.worker.tasks.common.array_contract import Array
from talweg.worker.tasks.common.base import EvalResult, MetricAccumulator, Predictions, TaskRunner
from talweg.worker.tasks.common.batch import Batch
from talweg.worker.tasks.common.mean_loss import MeanLoss
from talweg.worker.tasks.metric_learning.metrics import vector_metrics
from talweg.worker.tasks.metric_learning.pairing import drawn
from talweg.worker.tasks.metric_learning.predictions import postprocessor
from talweg.worker.tasks.metric_learning.sampler import p_by_k_order

_MOST_SHOWN = 2000
# Turns of an image that count as classes of their own.
_TURNS = 4


class MetricLearning(TaskRunner):
    """Vectors by which samples are compared, also of classes that training has not seen."""

    contract = {
        "x": Array(("N …",), "the inputs"),
        "y": Array(("N",), "class indices", whole=True),
    }

    def __init__(self, spec: JobSpec, bundle: DataBundle) -> None:
        """Take a filled spec and its data."""
        task = spec.task.metric_learning
        self.quarters = _TURNS if task.turned_classes else 1
        super().__init__(spec, bundle)
        self.postprocess = postprocessor(spec, bundle)
        self._train = bundle.train
        self._together = task.samples_per_class
        self._labels = torch.zeros(0, dtype=torch.int64)
        self.judges_loss = judges_loss(spec)
        """Whether the loss means anything for classes that training has not seen."""
        self.compares_directions = not is_euclidean(spec.loss)
        """Whether the directions of vectors are compared, and not their places."""

    def adapted(self, loss: Loss, module: LossModule) -> LossModule | None:
        """Draw pairs and triplets from the classes of a batch; see `TaskRunner.adapted`."""
        return drawn(loss, module)

    def num_classes(self, bundle: DataBundle) -> int:
        """Return the classes that are seen in training."""
        return len(torch.unique(bundle.train.y)) * self.quarters

    def arrays(self, part: DataSplit) -> dict[str, Tensor]:
        """Return x and, as target, the class; see `TaskRunner.arrays`.

        In the training part classes are numbered as they are seen there, turned ones included.
        """
        if part is not self._train:
            return {"x": part.x, "target": part.y}
        classes = torch.unique(part.y)
        target = torch.searchsorted(classes, part.y)
        x = torch.cat([torch.rot90(part.x, turn, (-2, -1)) for turn in range(self.quarters)])
        self._labels = torch.cat([target + turn * len(classes) for turn in range(self.quarters)])
        return {"x": x, "target": self._labels}

    def order(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw an order in groups of one class; see `TaskRunner.order`."""
        return p_by_k_order(self._labels, self._together, generator)

    def accumulator(self, model: nn.Module) -> MetricAccumulator:
        """Begin an evaluation of a model."""
        return _Vectors(self, model)


class _Vectors(MetricAccumulator):
    """Judges all samples' vectors together."""

    def __init__(self, task: MetricLearning, model: nn.Module) -> None:
        self._task = task
        self._model = model
        self._outputs: list[Tensor] = []
        self._labels: list[Tensor] = []

    def add(self, batch: Batch) -> None:
        self._outputs.append(self._model(batch.x))
        self._labels.append(batch.target)

    def result(self) -> EvalResult:
        outputs, target = torch.cat(self._outputs), torch.cat(self._labels)
        values: dict[str, float] = {}
        if self._task.judges_loss:
            # All together would have N² pairs.
            loss = MeanLoss(self._task.criterion, self._task.evaluated_at_once)
            loss.add({"pred": outputs, "target": target}, len(outputs))
            values["loss"] = loss.value
        embeddings = self._task.postprocess(outputs).to("cpu", torch.float64)
        labels = target.cpu().numpy()
        # Neighbours of numbers that are not finite are none.
        if bool(torch.isfinite(embeddings).all()) and len(labels) > 1:
            compared = F.normalize(embeddings, dim=1)
            vectors = (compared if self._task.compares_directions else embeddings).numpy()
            values |= vector_metrics(vectors, labels)
        shown = {
            "embeddings": embeddings[:_MOST_SHOWN].numpy().astype(np.float32),
            "labels": labels[:_MOST_SHOWN],
        }
        return EvalResult(values, shown, Predictions(labels, embeddings.numpy()))


def is_euclidean(loss: Loss) -> bool:
    """Return whether a loss compares the places of vectors rather than their directions."""
    return output_of(loss).kind == OutputFacts.EUCLIDEAN_EMBEDDING
