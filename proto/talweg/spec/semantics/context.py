"""A filled spec with what the rules ask about it, found out once."""

import functools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from google.protobuf.message import Message

from talweg.spec.semantics.dataset import Data, data_of, split_sizes
from talweg.spec.semantics.facts import chosen, leaves, loss_facts, task_kind
from talweg.spec.semantics.pairs_triplets import examples_of
from talweg.v1 import options_pb2
from talweg.v1.options_pb2 import LossFacts
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.tasks_pb2 import MetricLearning

if TYPE_CHECKING:
    from talweg.v1.options_pb2 import TaskKind


@dataclass(frozen=True)
class Leaf:
    """A loss that is no sum, somewhere in the spec's loss."""

    path: str
    """Where its `Loss` stands."""
    name: str
    """The member of `Loss`."""
    message: Message
    """Its parameters."""
    facts: LossFacts
    """What the catalogue says."""

    @property
    def member(self) -> str:
        """Where its parameters stand."""
        return f"{self.path}.{self.name}"


class SpecContext:
    """A filled spec and what follows from it. Parts whose bounds are violated count as unknown."""

    spec: JobSpec
    """The spec."""

    def __init__(self, spec: JobSpec, violated: Iterable[str] = ()) -> None:
        """Take a filled spec and the fields whose bounds it violates."""
        self.spec = spec
        self._violated = tuple(violated)

    def sound(self, path: str) -> bool:
        """Tell whether nothing at or below a path violates its bounds."""
        return not any(
            field == path or field.startswith((f"{path}.", f"{path}[")) for field in self._violated
        )

    @functools.cached_property
    def task(self) -> "TaskKind.ValueType":
        """The task by kind."""
        return task_kind(self.spec)

    @functools.cached_property
    def data(self) -> Data | None:
        """The data; None where the spec does not tell."""
        return data_of(self.spec) if self.sound("dataset") else None

    @functools.cached_property
    def leaves(self) -> tuple[Leaf, ...]:
        """The losses that are no sums; of a multitask job the one that weighs its heads'."""
        if self.task == options_pb2.MULTITASK:
            name = chosen(self.spec.loss)
            message = getattr(self.spec.loss, name) if name else None
            if message is None:
                return ()
            return (Leaf("loss", name, message, loss_facts(message.DESCRIPTOR)),)
        return tuple(
            Leaf(path, name, message, loss_facts(message.DESCRIPTOR))
            for path, name, message in leaves(self.spec.loss)
        )

    @functools.cached_property
    def fitting(self) -> tuple[Leaf, ...]:
        """Those of the losses that fit the task."""
        return tuple(leaf for leaf in self.leaves if self.task in leaf.facts.tasks)

    @functools.cached_property
    def sizes(self) -> tuple[int, int, int] | None:
        """Samples to train on, to validate on and to test on; None where not known."""
        if self.data is None or not self.sound("split"):
            return None
        labelled = examples_of(self.spec) == MetricLearning.labels
        if self.task == options_pb2.METRIC_LEARNING and labelled:
            # The classes are divided, and how many samples each has only the data tells.
            return None
        if self.spec.dataset.stored.split:
            # So does a column that names the part of each sample; the fractions are ignored.
            return None
        return split_sizes(self.spec.split, self.data.num_samples)

    @functools.cached_property
    def total_steps(self) -> int | None:
        """Optimizer steps of the whole training; None where not known."""
        training = self.spec.training
        if not self.sound("training"):
            return None
        if training.WhichOneof("length") == "steps":
            return training.steps
        if self.sizes is None or self.sizes[0] < 1:
            return None
        batches = math.ceil(self.sizes[0] / training.batch_size)
        return training.epochs * math.ceil(batches / training.accumulation)
