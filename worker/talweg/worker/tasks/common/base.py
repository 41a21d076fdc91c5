"""What every task does, of whatever shape."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from talweg.spec import num_outputs, output_activation
from talweg.v1.jobs_pb2 import Warning
from talweg.v1.losses_pb2 import Loss
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.data import DataBundle, DataSplit
from talweg.worker.losses import ClassCounts, LossModule
from talweg.worker.models import HeadShape
from talweg.worker.tasks.augmentation import Augmenter
from talweg.worker.tasks.common.array_contract import Array, check_split
from talweg.worker.tasks.common.batch import Batch, Summand
from talweg.worker.tasks.common.class_counts import counted
from talweg.worker.tasks.common.criterion import Outputs, criterion
from talweg.worker.tasks.common.postprocessing import Postprocessor

Floats = NDArray[np.float64]


class StepInfo(Protocol):
    """Where training stands."""

    @property
    def step(self) -> int:
        """The optimizer step under way, from 1; refused steps do not count."""

    @property
    def epoch(self) -> int:
        """The epoch under way, from 1."""


@dataclass(frozen=True)
class Predictions:
    """What a model says of some samples, beside what is true of them."""

    y_true: NDArray[Any]
    """Regression: numbers (N,) or (N, K) in the target's units. Binary and multiclass: classes
    (N,). Ordinal: ranks (N,). Multilabel: 0 and 1 (N, L)."""
    y_pred: NDArray[Any]
    """What is predicted, in the form of y_true."""
    probabilities: Floats | None = None
    """Binary: of class 1 (N,). Multiclass (N, C), ordinal (N, K), multilabel (N, L). None for
    regression."""
    log_odds: Floats | None = None
    """In the form of probabilities, where outputs tell them: log p / (1 - p), by which samples are
    ranked. Probabilities that round to 0 or 1 are equal, and their log odds are not."""
    sd: Floats | None = None
    """Under gaussian_nll and evidential: the predicted standard deviation, in the form of
    y_pred."""
    aleatoric: Floats | None = None
    """Under evidential: the variance by noise in the data, in the form of y_pred."""
    epistemic: Floats | None = None
    """Under evidential: the variance by what the model does not know, in the form of y_pred."""
    quantiles: Floats | None = None
    """Under multi_quantile: (N, Q) or (N, K, Q), in the target's units."""

    @property
    def ranked_by(self) -> Floats | None:
        """What samples are ranked by: log odds where they are known, else probabilities."""
        return self.probabilities if self.log_odds is None else self.log_odds


@dataclass(frozen=True)
class EvalResult:
    """What came of an evaluation."""

    values: Mapping[str, float]
    """The loss and the task's metrics, by name; without those that the samples leave undefined."""
    shown: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    """What the task's plots are drawn from, by name."""
    predictions: Predictions | None = None
    """What the model says of each sample; None where that is too much to keep."""
    warnings: tuple[Warning, ...] = ()
    """What is probably not meant, to be said where this is the last evaluation."""


class MetricAccumulator(ABC):
    """One evaluation: takes samples batch by batch, and judges them all in the end.

    Keeps sums, and not samples, wherever outputs may be large.
    """

    @abstractmethod
    def add(self, batch: Batch) -> None:
        """Run samples through the model; it is in evaluation mode, and no gradient is kept."""

    @abstractmethod
    def result(self) -> EvalResult:
        """Evaluate all samples that were added, at least one."""


class OutputAccumulator(MetricAccumulator):
    """An evaluation that goes by the model's outputs alone, wherever they come from."""

    def __init__(self, model: nn.Module) -> None:
        """Begin an evaluation of a model."""
        self._model = model

    def add(self, batch: Batch) -> None:
        """Run samples through the model, and take the outputs."""
        self.take(self._model(batch.x), batch)

    @abstractmethod
    def take(self, outputs: Any, batch: Batch) -> None:
        """Take what a model gave of a batch."""


class DryRun(NamedTuple):
    """A loss with the inputs that some training samples give it, to see whether they fit."""

    path: str
    """Where the loss stands in the spec."""
    criterion: LossModule
    """The loss."""
    inputs: Mapping[str, Tensor]
    """Its inputs."""
    targets: Mapping[str, Tensor]
    """Of its inputs those that come from the data: of all training samples."""


class Explanation(NamedTuple):
    """Why a loss is not a number."""

    value: float
    """The value that is at fault."""
    hint: str
    """What is wrong with it and what to do."""


def shuffled(count: int, generator: torch.Generator) -> Tensor:
    """Draw an order of so many samples, each as likely as any."""
    return torch.randperm(count, generator=generator)


def fixed_order(count: int) -> Tensor:
    """Return an order of so many samples that is random, and always the same."""
    return shuffled(count, torch.Generator().manual_seed(0))


class TaskRunner(ABC):
    """One job's task over one job's data.

    Holds nothing that training changes, but for the weights that a loss itself may have.
    """

    contract: ClassVar[Mapping[str, Array]]
    """The named arrays that the task reads, and their shapes."""
    of_pixels: ClassVar[bool] = False
    """Whether the model gives outputs for each pixel, (N, num_outputs, H, W)."""
    turns: int = 1
    """Steps after which the same weights learn again: more than 1 where players take turns."""
    num_players: ClassVar[int] = 1
    """How many parts of the model take turns, each with a loss of its own."""
    of_boxes: ClassVar[bool] = False
    """Whether the model gives classes and a box for each location of a grid,
    (N, num_outputs, H', W')."""
    quarters: int = 1
    """How often each training sample is there: first all as they are, then all turned by a
    quarter, and so on."""
    watches: ClassVar[bool] = False
    """Whether `watched` gives anything, which must then be read at the very step."""
    num_outputs: int
    """Outputs of the model's last layer."""
    heads: tuple[HeadShape, ...] = ()
    """What each head of the model gives, where it has several."""
    criterion: LossModule
    """The loss over the model's outputs as they are: an activation that the loss needs and the
    model does not have stands inside. It may have weights of its own, which are learnt beside the
    model's."""
    postprocess: Postprocessor
    """What turns the model's outputs into predictions."""
    computed: dict[str, str]
    """What was counted and computed in the training split, by name, as a run's parameters."""

    def __init__(self, spec: JobSpec, bundle: DataBundle) -> None:
        """Take a filled spec and its data.

        Raises:
            UserSpecError: The data is not what the task reads.
        """
        for name in ("train", "validation", "test"):
            check_split(getattr(bundle, name), self.contract, name)
        self.num_outputs = num_outputs(spec, bundle.num_targets)
        self.evaluated_at_once = spec.training.evaluation_batch_size
        """Samples that an evaluation takes together under a loss that pools its batch."""
        self._ends_in = output_activation(spec)
        loss, self.computed = counted(spec, self.class_counts(bundle))
        self.criterion = criterion(
            loss,
            Outputs(
                ends_in=self._ends_in,
                num_classes=self.num_classes(bundle),
                seed=spec.training.seed,
                of_pixels=self.of_pixels,
            ),
            self.adapted,
        )

    def notes(self) -> list[str]:
        """Return what was chosen for the job and is worth a line in its log."""
        return []

    def adapted(self, loss: Loss, module: LossModule) -> LossModule | None:
        """Put what only this task has between a model's outputs and a loss.

        Args:
            loss: Filled; no sum.
            module: The loss by itself.

        Returns:
            A loss of the outputs; None where those that all tasks share will do.
        """
        return None

    def num_classes(self, bundle: DataBundle) -> int:
        """Return the classes or labels among which the loss chooses, or the numbers."""
        return bundle.num_targets

    def class_counts(self, bundle: DataBundle) -> ClassCounts | None:
        """Count how often each class is seen in training; None where there are no classes."""
        return None

    def start(self, network: nn.Module) -> None:  # noqa: B027 - most start well as they are
        """Move a network's first outputs to where the targets are, where that is far off."""

    def frozen(self, model: nn.Module) -> None:  # noqa: B027 - most train whatever is left
        """Take note of parameters of a model that are frozen from now on.

        Raises:
            UserSpecError: The task cannot train what is left.
        """

    @abstractmethod
    def arrays(self, part: DataSplit) -> dict[str, Tensor]:
        """Return what batches carry of a part: `x`, and what the loss takes."""

    def augment(self, arrays: Mapping[str, Tensor], augmenter: Augmenter) -> dict[str, Tensor]:
        """Return the arrays of a batch of training with images changed at random.

        What belongs to the images changes with them; by default nothing does.

        Args:
            arrays: What `arrays` gives of these samples.
            augmenter: Changes images.
        """
        return {**arrays, "x": augmenter.images(arrays["x"])}

    @abstractmethod
    def accumulator(self, model: nn.Module) -> MetricAccumulator:
        """Begin an evaluation of a model."""

    def samples_at_once(self, batch_size: int, x: Tensor) -> int:
        """Return how many samples an evaluation runs at once, so that its memory is bounded.

        Args:
            batch_size: Samples in a batch of training.
            x: Inputs of all samples.
        """
        return batch_size

    def evaluation_order(self, count: int) -> Tensor | None:
        """Return in which order an evaluation takes samples; None for that of the data.

        Where a loss pools its batch, what stands together decides its value. The data may be in
        the order of a file, such as by class: then they are mixed, always alike.

        Args:
            count: Samples N.

        Returns:
            Each index below N once (N,), on the CPU.
        """
        pools = (getattr(part, "pools_batch", False) for part in self.criterion.modules())
        return fixed_order(count) if any(pools) else None

    def loss_inputs(self, outputs: Any, batch: Batch) -> dict[str, Tensor]:
        """Return what the criterion takes of a model's outputs and a batch."""
        return {"pred": outputs, "target": batch.target}

    def loss(self, model: nn.Module, batch: Batch, step_info: StepInfo) -> Tensor:
        """Run a batch through model and loss.

        Args:
            model: In training mode; in evaluation mode, as the criterion is then too, whatever a
                loss learns or counts stays as it is.
            batch: The samples.
            step_info: Where training stands.
        """
        return self.criterion_of(self.loss_inputs(model(batch.x), batch), batch)

    def criterion_of(self, inputs: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """Return the criterion of a batch, whose summands have their parts in a step.

        Args:
            inputs: The criterion's.
            batch: Has the factors.
        """
        # A loss that is no sum takes none.
        return self.criterion(inputs, batch.factors) if batch.factors else self.criterion(inputs)

    def summands(self) -> list[Summand]:
        """Return the losses that `loss` adds up, in the order of `Batch.factors`.

        Returns:
            None of them where it is one loss.
        """
        return [Summand("target", each.divisor, each.sums) for each in self.criterion.summands]

    def weighted_criteria(self) -> Sequence[tuple[LossModule, float]]:
        """Return the losses that `loss` calls with inputs by sample, and their weights.

        Returns:
            None of them where what is paid is not the samples'.
        """
        return [(self.criterion, 1.0)]

    def divisor(self, arrays: Mapping[str, Tensor]) -> Callable[[Tensor], Tensor | None] | None:
        """Return what gives the divisor of the loss's mean by targets; see `LossModule.divisor`.

        Args:
            arrays: What `arrays` gives of the samples.

        Returns:
            None where no targets tell: then the loss is a mean over samples.
        """
        return self.criterion.divisor if "target" in arrays else None

    def dry_runs(
        self, model: nn.Module, batch: Batch, arrays: Mapping[str, Tensor]
    ) -> Iterator[DryRun]:
        """Return each loss with what some samples give it, before the first step.

        Args:
            model: In training mode.
            batch: Some training samples.
            arrays: All training samples.
        """
        inputs = self.loss_inputs(model(batch.x), batch)
        targets = {name: arrays[name] for name in inputs if name in arrays}
        yield DryRun("loss", self.criterion, inputs, targets)

    def order(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw the order of an epoch's samples, which are cut into batches as they come.

        Args:
            count: Training samples N.
            generator: On the CPU; nothing else may decide the order.

        Returns:
            Each index below N once (N,).
        """
        return shuffled(count, generator)

    def rate_factor(self, step: int) -> float:
        """Return what a step's learning rate is multiplied by.

        Args:
            step: The optimizer step, from 1.
        """
        return 1.0

    def player(self, step: int) -> int:
        """Return whose turn a step is, below `num_players`.

        Args:
            step: The optimizer step, from 1.
        """
        return 0

    def watched(self) -> dict[str, float]:
        """Return what besides the loss is to be seen of training just now, by metric's name."""
        return {}

    def explain(self) -> Explanation | None:
        """Return why the last batch's loss is not a number, where the task knows it."""
        return None

    def updated(self) -> None:  # noqa: B027 - most need nothing
        """Follow each update of the weights."""
