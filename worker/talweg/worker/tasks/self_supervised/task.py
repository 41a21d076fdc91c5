"""Self-supervision: vectors that stay the same under augmentation, learnt without labels."""

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from talweg.spec import kind, loss_facts
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.data import DataBundle, DataSplit
from talweg.worker.losses import LossModule, Part
from talweg.worker.tasks.augmentation import Augmenter
from talweg.worker.tasks.common.array_contract import Array
from talweg.worker.tasks.common.base import (
    DryRun,
    EvalResult,
    MetricAccumulator,
    Predictions,
    StepInfo,
    TaskRunner,
    fixed_order,
)
from talweg.worker.tasks.common.batch import Batch
from talweg.worker.tasks.common.mean_loss import MeanLoss
from talweg.worker.tasks.common.metrics import Floats
from talweg.worker.tasks.self_supervised.augmentations import Augmentation
from talweg.worker.tasks.self_supervised.predictions import postprocessor

# Neighbours that vote, and training samples that probes are fitted on at the most.
_NEIGHBOURS = 5
_MOST_FITTED = 5000
_MOST_SHOWN = 2000
_AT_ONCE = 512
_SEED = 0
# What the second view is drawn from, where images are augmented.
_OTHER = "other"


class OfProjections(LossModule):
    """A loss of two augmentations, `one` and `two`, behind a projector of their embeddings (N, D).

    Where the loss has no gradient for its second input a predictor stands before the first, and
    the mean of both directions is taken. Chen et al. 2020, Chen and He 2021.
    """

    input_names = ("one", "two")

    def __init__(
        self, inner: LossModule, *, size: int, projection: int, predicts: bool, seed: int
    ) -> None:
        """Draw the first weights.

        Args:
            inner: Takes two augmentations.
            size: Numbers of an embedding D.
            projection: Numbers that the loss compares.
            predicts: A predictor is needed.
            seed: Decides the weights.
        """
        super().__init__(inner.reduction)
        self.inner = inner
        self.pools_batch = inner.pools_batch
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.projector = _perceptron(size, projection)
            self.predictor = _perceptron(projection, projection) if predicts else None

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the reduced loss; see `LossModule.forward`."""
        directions = [self.inner(projected) for projected in self._projected(inputs)]
        return directions[0] if len(directions) == 1 else sum(directions[1:], directions[0]) / 2

    def parts(self, inputs: Mapping[str, Tensor]) -> list[Part]:
        """Return the parts of all directions; see `LossModule.parts`."""
        directions = self._projected(inputs)
        return [
            part._replace(factor=part.factor / len(directions))
            for projected in directions
            for part in self.inner.parts(projected)
        ]

    def check_inputs(self, inputs: Mapping[str, Tensor]) -> None:
        """Refuse wrong names, shapes and dtypes; see `LossModule.check_inputs`."""
        for projected in self._projected(inputs):
            self.inner.check_inputs(projected)

    def _projected(self, inputs: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
        one, two = self.projector(inputs["one"]), self.projector(inputs["two"])
        first, second = self.inner.input_names[:2]
        if self.predictor is None:
            return [{first: one, second: two}]
        return [
            {first: self.predictor(one), second: two},
            {first: self.predictor(two), second: one},
        ]


def _perceptron(size: int, outputs: int) -> nn.Sequential:
    hidden = 2 * max(size, outputs)
    return nn.Sequential(
        nn.Linear(size, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, outputs)
    )


class SelfSupervised(TaskRunner):
    """Vectors that stay the same under augmentation. Labels, if any, serve the probes alone."""

    contract = {
        "x": Array(("N …",), "the inputs"),
        "y": Array(("N",), "class indices, for the probes", whole=True, may_lack=True),
    }

    def __init__(self, spec: JobSpec, bundle: DataBundle) -> None:
        """Take a filled spec and its data."""
        super().__init__(spec, bundle)
        self.postprocess = postprocessor(spec, bundle)
        task = spec.task.self_supervised
        self.augmentation = Augmentation.of(task.views)
        """How samples are changed."""
        self._train = bundle.train
        self.criterion = OfProjections(
            self.criterion,
            size=self.num_outputs,
            projection=task.projection,
            predicts=loss_facts(kind(spec.loss)[1].DESCRIPTOR).predictor,
            seed=spec.training.seed,
        )

    def arrays(self, part: DataSplit) -> dict[str, Tensor]:
        """Return x and, as target, the class, which no loss sees; see `TaskRunner.arrays`."""
        return {"x": part.x, "target": part.y} if "y" in part.arrays else {"x": part.x}

    def loss(self, model: nn.Module, batch: Batch, step_info: StepInfo) -> Tensor:
        """Compare two augmentations of each sample; see `TaskRunner.loss`."""
        return self.criterion(self.compared(model, batch.x, batch.arrays.get(_OTHER)))

    def dry_runs(
        self, model: nn.Module, batch: Batch, arrays: Mapping[str, Tensor]
    ) -> Iterator[DryRun]:
        """Return the loss with two augmentations of some samples."""
        yield DryRun("loss", self.criterion, self.compared(model, batch.x), {})

    def augment(self, arrays: Mapping[str, Tensor], augmenter: Augmenter) -> dict[str, Tensor]:
        """Change the images twice, a view each; see `TaskRunner.augment`."""
        x = arrays["x"]
        return {**arrays, "x": augmenter.images(x), _OTHER: augmenter.images(x)}

    def compared(
        self, model: nn.Module, x: Tensor, other: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return the embeddings of two augmentations of each sample.

        Args:
            model: Gives them.
            x: The samples.
            other: The samples that the second is drawn from; x where None.
        """
        one, two = self.augmentation.draw(x), self.augmentation.draw(x if other is None else other)
        return {"one": model(one), "two": model(two)}

    def accumulator(self, model: nn.Module) -> MetricAccumulator:
        """Begin an evaluation of a model."""
        return _Probes(self, model)

    def learnt(self, model: nn.Module) -> tuple[Floats, NDArray[np.int64]]:
        """Return the embeddings of training samples, not augmented, and their classes.

        Args:
            model: Gives them; the data have labels.
        """
        device = next(model.parameters()).device
        x, y = self._train.x, self._train.y
        if len(x) > _MOST_FITTED:
            # The first ones may be of a few classes: files are often sorted.
            drawn = fixed_order(len(x))[:_MOST_FITTED].sort().values
            x, y = x.index_select(0, drawn), y.index_select(0, drawn)
        embeddings = torch.cat([model(part.to(device)) for part in torch.split(x, _AT_ONCE)])
        return embeddings.to("cpu", torch.float64).numpy(), y.numpy()


class _Probes(MetricAccumulator):
    """Classifies by the embeddings, to see what they hold."""

    def __init__(self, task: SelfSupervised, model: nn.Module) -> None:
        self._task = task
        self._model = model
        self._samples: list[Tensor] = []
        self._outputs: list[Tensor] = []
        self._labels: list[Tensor] = []

    def add(self, batch: Batch) -> None:
        self._samples.append(batch.x)
        self._outputs.append(self._model(batch.x))
        if "target" in batch.arrays:
            self._labels.append(batch.target)

    def _loss(self) -> float:
        """Return the loss of augmentations that are the same in every evaluation, whatever the
        batches: they are drawn of all samples together.
        """
        sizes = [len(batch) for batch in self._samples]
        generator = torch.Generator().manual_seed(_SEED)
        augment, x = self._task.augmentation, torch.cat(self._samples)
        one, two = (torch.split(augment.draw(x, generator), sizes) for _ in range(2))
        loss = MeanLoss(self._task.criterion, self._task.evaluated_at_once)
        for first, second in zip(one, two, strict=True):
            loss.add({"one": self._model(first), "two": self._model(second)}, len(first))
        return loss.value

    def result(self) -> EvalResult:
        outputs = torch.cat(self._outputs)
        embeddings = self._task.postprocess(outputs).to("cpu", torch.float64).numpy()
        # One sample has no other to be told from.
        values = {"loss": self._loss()} if len(outputs) > 1 else {}
        shown = {"embeddings": embeddings[:_MOST_SHOWN].astype(np.float32)}
        if not self._labels:
            return EvalResult(values, shown)
        labels = torch.cat(self._labels).cpu().numpy()
        learnt, known = self._task.learnt(self._model)
        if np.isfinite(embeddings).all() and np.isfinite(learnt).all():
            values["linear_probe"] = linear_probe(learnt, known, embeddings, labels)
            values["knn_probe"] = knn_probe(learnt, known, embeddings, labels)
        shown["labels"] = labels[:_MOST_SHOWN]
        return EvalResult(values, shown, Predictions(labels, embeddings))


def linear_probe(
    learnt: Floats, known: NDArray[np.int64], embeddings: Floats, labels: NDArray[np.int64]
) -> float:
    """Return a linear classifier's accuracy, by ridge regression of standardised embeddings."""
    if len(np.unique(known)) < 2:
        return float((labels == known[0]).mean())
    from sklearn.linear_model import RidgeClassifier  # noqa: PLC0415 - at its first use
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415 - at its first use
    from sklearn.preprocessing import StandardScaler  # noqa: PLC0415 - at its first use

    probe = make_pipeline(StandardScaler(), RidgeClassifier(alpha=1.0)).fit(learnt, known)
    return float((probe.predict(embeddings) == labels).mean())


def knn_probe(
    learnt: Floats, known: NDArray[np.int64], embeddings: Floats, labels: NDArray[np.int64]
) -> float:
    """Return the accuracy of the vote of the nearest training embeddings, by cosine."""
    from sklearn.neighbors import KNeighborsClassifier  # noqa: PLC0415 - at its first use
    from sklearn.preprocessing import normalize  # noqa: PLC0415 - at its first use

    probe = KNeighborsClassifier(min(_NEIGHBOURS, len(known))).fit(normalize(learnt), known)
    return float((probe.predict(normalize(embeddings)) == labels).mean())
