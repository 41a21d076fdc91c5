"""Everything that a run needs, made from its spec and checked before the first step.

`set_up` makes one thing after the other, each by a function of its own.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from talweg.spec import kind
from talweg.v1.jobs_pb2 import Warning
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker import tasks
from talweg.worker.errors import UserSpecError
from talweg.worker.tasks.augmentation import Augmenter
from talweg.worker.training import deferred
from talweg.worker.training.batching.batches import Batches, Plan
from talweg.worker.training.batching.curriculum import (
    EVERYTHING,
    Curriculum,
    EasyBeforeHard,
    losses_by_sample,
)
from talweg.worker.training.batching.sampling import sampler_of
from talweg.worker.training.core import Core
from talweg.worker.training.deferred import DeferredReads
from talweg.worker.training.evaluation import Splits
from talweg.worker.training.evaluator import Evaluator
from talweg.worker.training.guard import building
from talweg.worker.training.guard.building import Policies
from talweg.worker.training.guard.guard import Guard
from talweg.worker.training.guard.overflow import WeightWatch
from talweg.worker.training.interface import Reporter
from talweg.worker.training.monitors import checks
from talweg.worker.training.monitors.gradient_flow import GradientFlow
from talweg.worker.training.monitors.health import OF_ALL_LAYERS, Health
from talweg.worker.training.monitors.layers import ForwardOrder, Layers
from talweg.worker.training.monitors.recorder import Recorder
from talweg.worker.training.optim import lr_schedules, optimizers
from talweg.worker.training.optim.lr_schedules import Schedule
from talweg.worker.training.state import checkpoints, parts
from talweg.worker.training.state.frozen import Frozen
from talweg.worker.training.state.same_data import SameData
from talweg.worker.training.state.snapshot import Snapshots, Stateful
from talweg.worker.training.state.training_state import TrainingState
from talweg.worker.training.step import Learner, Step, backward

# Samples that go through network and loss before the first step, to see whether they fit.
_MOST_TRIED = 32
_IMAGE = 3


@dataclass(frozen=True)
class Setup:
    """One run, ready for its first step."""

    splits: Splits
    """The data."""
    learner: Learner
    """The model with its task: gives losses."""
    state: TrainingState
    """All that training changes."""
    plan: Plan
    """How long, in what batches."""
    batches: Batches
    """The training data."""
    curriculum: Curriculum
    """Which of it is drawn."""
    step: Step
    """Takes the steps, with its schedule, guard, policy and monitors."""
    evaluator: Evaluator
    """Evaluates between epochs."""
    weights: WeightWatch
    """Sees weights that must be neither kept nor given out."""
    snapshots: Snapshots
    """Takes the state, and all else that training goes by, and brings it back."""

    @property
    def loss_of(self) -> Callable[[tasks.Batch], Tensor]:
        """Gives a batch's part in a step's loss."""
        return self.learner.loss_of


def set_up(
    spec: JobSpec,
    device: torch.device,
    report: Reporter,
    *,
    warned: Collection[Warning.Kind.ValueType] = (),
) -> Setup:
    """Make a run ready.

    Args:
        spec: Filled and checked.
        device: Where it trains.
        report: Takes the data, and what is probably not meant.
        warned: Kinds of warnings that the spec alone has brought already.

    Raises:
        UserSpecError: Data, model and loss do not go together.
    """
    core = Core.of(spec, device, report, warned)
    guard = _guard(core)
    forward_order = _dry_run(core, guard)
    batches = _batches(core)
    curriculum = _curriculum(core, batches)
    weights = WeightWatch(core.state.model, core.state.optimizer)
    health = _health(core, forward_order)
    answers = _policies(core, guard, batches, weights, health)
    step = Step(
        state=core.state,
        loss_of=core.learner.loss_of,
        schedule=_schedule(core),
        guard=guard,
        policy=answers.guard,
        spikes=answers.spikes,
        health=health,
        recorder=_recorder(core),
    )
    evaluator = _evaluator(core, step)
    step.deferred = _deferred(core, step, evaluator, curriculum)
    _dry_run_in_precision(core, guard)
    return Setup(
        splits=core.splits,
        learner=core.learner,
        state=core.state,
        plan=core.plan,
        batches=batches,
        curriculum=curriculum or EVERYTHING,
        step=step,
        evaluator=evaluator,
        weights=weights,
        snapshots=_snapshots(core, step, curriculum, answers),
    )


def _guard(core: Core) -> Guard:
    training, state = core.spec.training, core.state
    return Guard(
        state.model,
        state.update,
        clip_norm=training.clip_norm if training.HasField("clip_norm") else None,
        clip_value=training.clip_value if training.HasField("clip_value") else None,
        scaler=core.learner.precision.scaler,
    )


def _first_samples(core: Core) -> tasks.Batch:
    return core.splits.train.batch(0, min(core.spec.training.batch_size, _MOST_TRIED))


def _dry_run(core: Core, guard: Guard) -> ForwardOrder:
    """Warn of what the data and a first forward pass show, and note the layers' order in it."""
    spec, model, train = core.spec, core.state.model, core.splits.train
    guard.remember()
    asks_for_flow = spec.diagnostics.HasField("gradient_flow")
    # An empty one where nobody asks.
    with ForwardOrder.of(model if asks_for_flow else nn.Module()) as order:
        warnings = checks.dry_run(model, core.task, _first_samples(core), train.arrays, spec=spec)
    guard.restore()
    for warning in (*checks.imbalance_warnings(spec, core.splits.bundle), *warnings):
        if warning.kind not in core.warned:
            core.report.warning(warning)
    return order


def _dry_run_in_precision(core: Core, guard: Guard) -> None:
    """See whether the device can compute with as few bits as are asked for."""
    precision = core.learner.precision
    if precision.is_full:
        return
    guard.remember()
    if warning := precision.warning(core.state.model):
        core.report.warning(warning)
    precision.dry_run(lambda: backward(core.learner.loss_of(_first_samples(core))))
    guard.restore()


def _batches(core: Core) -> Batches:
    arrays, task = core.splits.train.arrays, core.task
    sampler = sampler_of(core.spec, core.splits.bundle)
    augmenter = _augmenter(core)
    # Classes that were mixed have no weights of their own: the mean is over samples.
    mixes_classes = (
        augmenter is not None and augmenter.mixes and not arrays["target"].is_floating_point()
    )
    return Batches(
        arrays,
        core.plan,
        device=core.splits.train.device,
        draw=task.order,
        draw_among=None if sampler is None else sampler.among,
        divisor=None if mixes_classes else task.divisor(arrays),
        summands=[
            each._replace(divisor=None) if mixes_classes else each for each in task.summands()
        ],
        quarters=task.quarters,
        augment=None if augmenter is None else partial(task.augment, augmenter=augmenter),
    )


def _augmenter(core: Core) -> Augmenter | None:
    training, inputs = core.spec.training, core.splits.bundle.inputs
    if not training.HasField("augmentation"):
        return None
    if len(inputs.shape) != _IMAGE:
        # What a plug-in returns is known to nobody before.
        raise UserSpecError(
            "training.augmentation needs images (channels, height, width), but samples have the "
            f"shape {tuple(inputs.shape)}: leave it out"
        )
    return Augmenter(training.augmentation, inputs.shape, inputs.scaler)


def _curriculum(core: Core, batches: Batches) -> EasyBeforeHard | None:
    training = core.spec.training
    if not training.HasField("curriculum"):
        return None
    return EasyBeforeHard(
        training.curriculum,
        batches=batches,
        num_samples=core.plan.num_samples,
        num_epochs=core.plan.epochs,
        measure=partial(
            losses_by_sample,
            core.state.model,
            core.task,
            core.splits.train,
            batch_size=training.batch_size,
        ),
        difficulty=core.splits.bundle.difficulty,
        report=core.report,
    )


def _schedule(core: Core) -> Schedule:
    spec = core.spec
    learning_rate = optimizers.learning_rate(spec.optimizer)
    schedule = lr_schedules.build(
        spec.schedule, learning_rate=learning_rate, length=core.plan.length
    )
    return schedule.times(core.task.rate_factor)


def _recorder(core: Core) -> Recorder:
    training, task, scaler = core.spec.training, core.task, core.learner.precision.scaler

    def watched() -> Mapping[str, float]:
        return task.watched() if scaler is None else {**task.watched(), **scaler.watched()}

    return Recorder(
        core.report,
        every_steps=training.log_every_steps if training.HasField("log_every_steps") else None,
        clips=training.HasField("clip_norm"),
        watched=watched,
        watches=task.watches,
    )


def _evaluator(core: Core, step: Step) -> Evaluator:
    return Evaluator(
        core.spec,
        task=core.task,
        validation=core.splits.validation,
        plan=core.plan,
        plateau=step.schedule.plateau,
        recorder=step.recorder,
        report=core.report,
    )


def _policies(
    core: Core, guard: Guard, batches: Batches, weights: WeightWatch, health: Health
) -> Policies:
    return building.build(
        core.spec,
        state=core.state,
        task=core.task,
        plan=core.plan,
        guard=guard,
        batches=batches,
        weights=weights,
        device=core.device,
        followed=health.followed,
        report=core.report,
    )


def _health(core: Core, order: ForwardOrder) -> Health:
    spec, task, layers = core.spec, core.task, Layers(core.state.model)
    flow = None
    if spec.diagnostics.HasField("gradient_flow"):
        flow = GradientFlow(
            layers,
            order=order.of_layers(list(layers.parameters)),
            points=spec.diagnostics.gradient_flow.points,
            num_steps=core.plan.length.steps,
            turns=task.turns,
        )
    return Health(
        core.state.model,
        core.report,
        warmup_steps=kind(spec.schedule)[1].warmup_steps,  # type: ignore[attr-defined]
        # Where players take turns, gradients of 0 and the loss say whose turn it is.
        warned=[*core.warned, *(OF_ALL_LAYERS if task.turns > 1 else ())],
        layers=layers,
        flow=flow,
    )


def _deferred(
    core: Core, step: Step, evaluator: Evaluator, curriculum: EasyBeforeHard | None
) -> DeferredReads | None:
    """Make what reads several steps at once, which must know all that looks at single ones."""
    training, plan, scaler = core.spec.training, core.plan, core.learner.precision.scaler
    asked = training.read_every_steps if training.HasField("read_every_steps") else None
    every_steps = deferred.every_steps(asked, core.device)
    if every_steps == 1:
        return None

    def is_looked_at(state: TrainingState) -> bool:
        """Return whether the epoch has ended, and somebody is to look at what came of it."""
        ends = plan.ends_epoch(state.order)
        return ends and (curriculum is not None or evaluator.is_due(state))

    return DeferredReads(
        core.state,
        every_steps=every_steps,
        guard=step.guard,
        parts={**_changed_by_steps(core), "followed": step.health.followed},
        due=(
            step.policy.is_due,
            step.spikes.is_due,
            lambda state: step.recorder.must_see(state.step),
            partial(checkpoints.is_due, training.checkpoints),
            lambda state: state.step == plan.length.steps,
            is_looked_at,
        ),
        look=step.health.is_due,
        all_stand=step.spikes.all_stand,
        watched=dict if scaler is None else scaler.watched,
    )


def _snapshots(
    core: Core, step: Step, curriculum: EasyBeforeHard | None, answers: Policies
) -> Snapshots:
    """Name all that training changes; the names stand in checkpoints."""
    frozen = Frozen(core.task.criterion)
    same_data = SameData.of(core.spec, core.splits.bundle)
    return Snapshots(
        {
            **_changed_by_steps(core),
            "state": core.state,
            "recorder": step.recorder,
            **answers.parts(),
            "health": step.health,
            **({"frozen": frozen} if frozen else {}),
            **({} if same_data is None else {"data": same_data}),
            **({} if curriculum is None else {"curriculum": curriculum}),
        },
        newer=building.NEWER,
    )


def _changed_by_steps(core: Core) -> dict[str, Stateful]:
    return parts.changed_by_steps(
        core.state,
        core.task.criterion,
        device=core.device,
        scaler=core.learner.precision.scaler,
    )
