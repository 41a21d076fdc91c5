"""What everything else of a run is made from: data, task, model, optimizer."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Self

import torch

from talweg.spec.plugins import plugin_uses
from talweg.v1.jobs_pb2 import LogLine, Warning
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker import data, plugins, tasks
from talweg.worker.tasks import TaskRunner
from talweg.worker.training.batching.batches import Order, Plan
from talweg.worker.training.evaluation import Splits
from talweg.worker.training.fine_tuning import start as fine_tuning
from talweg.worker.training.interface import Reporter
from talweg.worker.training.optim import optimizers
from talweg.worker.training.optim.update import update_of
from talweg.worker.training.precision import Precision
from talweg.worker.training.state import trainable
from talweg.worker.training.state.training_state import TrainingState
from talweg.worker.training.step import Learner


@dataclass(frozen=True)
class Core:
    """What everything else is made from."""

    spec: JobSpec
    """Filled and checked."""
    device: torch.device
    """Where it trains."""
    report: Reporter
    """Takes the data, and what is probably not meant."""
    warned: Collection[Warning.Kind.ValueType]
    """Kinds of warnings that are out already, or would not hold."""
    splits: Splits
    """The data."""
    learner: Learner
    """The model with its task: gives losses."""
    plan: Plan
    """How long, in what batches."""

    @property
    def task(self) -> TaskRunner:
        """What is trained."""
        return self.learner.task

    @property
    def state(self) -> TrainingState:
        """All that training changes."""
        return self.learner.state

    @classmethod
    def of(
        cls,
        spec: JobSpec,
        device: torch.device,
        report: Reporter,
        warned: Collection[Warning.Kind.ValueType],
    ) -> Self:
        """Load the data, and make task, model and optimizer.

        Args:
            spec: Filled and checked.
            device: Where it trains.
            report: Takes the data, and what is to be known of them.
            warned: Kinds of warnings that the spec alone has brought already.

        Raises:
            UserSpecError: Data, model and loss do not go together.
        """
        bundle = data.load(spec)
        report.data(bundle)
        for use in plugin_uses(spec):
            report.log(LogLine.INFO, f"{use.path} is {plugins.find(use.message).label}.")
        if bundle.stored is not None:
            for warning in (*bundle.stored.warnings, *data.warnings_of(spec, bundle)):
                report.warning(warning)
            for note in bundle.stored.notes:
                report.log(LogLine.INFO, note)
        task = tasks.make(spec, bundle)
        if task.computed:
            report.computed(task.computed)
        for note in task.notes():
            report.log(LogLine.INFO, note)
        model = trainable.build(spec, bundle, task, device)
        factors = fine_tuning.start(spec, bundle, task, model, report)
        groups = optimizers.groups(model, factors)
        update = update_of(optimizers.build(spec.optimizer, groups), after=task.updated)
        state = TrainingState(model=model, update=update, order=Order(spec.training.seed))
        precision = Precision(spec.training.precision, device, task.criterion)
        splits = Splits.of(bundle, task, device)
        return cls(
            spec=spec,
            device=device,
            report=report,
            # A model that knows something already is no untrained one.
            warned=[*warned, Warning.FIRST_LOSS_FAR] if spec.HasField("weights") else warned,
            splits=splits,
            learner=Learner(task, state, precision),
            plan=Plan.of(spec.training, len(splits.train), sums=task.criterion.reduction == "sum"),
        )
