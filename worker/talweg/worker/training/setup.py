"""Everything that a run needs, made from its spec and checked before the first step."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from talweg.spec import kind
from talweg.v1.jobs_pb2 import Warning
from talweg.v1.spec_pb2 import JobSpec, Training
from talweg.worker import data, models, tasks
from talweg.worker.data import DataBundle
from talweg.worker.errors import UserSpecError
from talweg.worker.tasks import Batch, TaskRunner
from talweg.worker.training import deferred, memory
from talweg.worker.training.backward import backward
from talweg.worker.training.batches import Batches, Divisor, Order, Plan
from talweg.worker.training.curriculum import (
    EVERYTHING,
    Curriculum,
    EasyBeforeHard,
    losses_by_sample,
)
from talweg.worker.training.deferred import DeferredReads
from talweg.worker.training.evaluation import HeldSplit
from talweg.worker.training.evaluator import Evaluator
from talweg.worker.training.guard import overflow, policies
from talweg.worker.training.guard.guard import Guard
from talweg.worker.training.guard.overflow import WeightWatch
from talweg.worker.training.interface import Reporter
from talweg.worker.training.monitors import checks
from talweg.worker.training.monitors.gradient_flow import GradientFlow
from talweg.worker.training.monitors.health import OF_ALL_LAYERS, Health
from talweg.worker.training.monitors.layers import ForwardOrder, Layers
from talweg.worker.training.optim import lr_schedules, optimizers
from talweg.worker.training.optim.lr_schedules import Schedule
from talweg.worker.training.optim.update import update_of
from talweg.worker.training.precision import GradScaler, Precision
from talweg.worker.training.recorder import Recorder
from talweg.worker.training.state.frozen import Frozen
from talweg.worker.training.state.snapshot import (
    Modules,
    Optimizer,
    RandomState,
    Snapshots,
    Stateful,
)
from talweg.worker.training.state.training_state import CurrentStep, TrainingState
from talweg.worker.training.trainable import all_learned

# Samples that go through network and loss before the first step, to see whether they fit.
_MOST_TRIED = 32


@dataclass(frozen=True)
class Setup:
    """One run, ready for its first step."""

    bundle: DataBundle
    """The data, in CPU memory."""
    task: TaskRunner
    """What is learnt."""
    train: HeldSplit
    """What is learnt from."""
    test: HeldSplit
    """What the final figures come from; may be empty."""
    plan: Plan
    """How long, in what batches."""
    batches: Batches
    """The training data."""
    curriculum: Curriculum
    """Which of it is drawn."""
    schedule: Schedule
    """The learning rate of each step."""
    guard: Guard
    """Keeps from the weights what is not finite."""
    policy: policies.Fail
    """What happens to a step that is refused."""
    health: Health
    """Warns of what is probably not meant."""
    weights: WeightWatch
    """Sees weights that must be neither kept nor given out."""
    recorder: Recorder
    """Thins the metrics."""
    evaluator: Evaluator
    """Evaluates between epochs."""
    state: TrainingState
    """All that training changes."""
    precision: Precision
    """In what numbers batches go through network and loss."""
    step_info: CurrentStep
    """Where it stands, for losses that go by it."""
    snapshots: Snapshots
    """Takes that, and all else that training goes by, and brings it back."""
    ahead: DeferredReads
    """Takes steps before the guard has read them, where that is worth while."""

    def loss_of(self, batch: Batch) -> Tensor:
        """Run a batch through network and loss, and give its part in the step's loss."""
        with self.precision.forward():
            loss = self.task.loss(self.state.model, batch, self.step_info)
        is_whole = isinstance(batch.share, float) and batch.share == 1.0
        return loss if is_whole else loss * batch.share


def set_up(
    spec: JobSpec,
    place: torch.device,
    report: Reporter,
    *,
    warned: Collection[Warning.Kind.ValueType] = (),
) -> Setup:
    """Make a run ready.

    Args:
        spec: Filled and checked.
        place: Where it trains.
        report: Takes the data, and what is probably not meant.
        warned: Kinds of warnings that the spec alone has brought already.

    Raises:
        UserSpecError: Data, model and loss do not go together.
    """
    training = spec.training
    bundle = data.load(spec)
    report.data(bundle)
    task = tasks.make(spec, bundle)
    if task.computed:
        report.computed(task.computed)
    with memory.weights_bounded():
        network = models.build(
            spec.model,
            bundle.inputs.shape,
            task.num_outputs,
            seed=training.seed,
            heads=task.heads,
        )
    if next(network.parameters(), None) is None:
        raise UserSpecError("model has no weights that could be trained: add a linear layer")
    task.start(network)
    task.criterion.to(place)
    model = all_learned(network, task.criterion).to(place)
    if training.channels_last:
        # Convolutions give images in the order in which their weights stand.
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    update = update_of(
        optimizers.build(spec.optimizer, list(model.parameters())),
        after=task.updated if type(task).updated is not TaskRunner.updated else None,
    )
    precision = Precision(training.precision, place, task.criterion)
    guard = Guard(
        model,
        update,
        clip_norm=training.clip_norm if training.HasField("clip_norm") else None,
        clip_value=training.clip_value if training.HasField("clip_value") else None,
        scaler=precision.scaler,
    )

    train = HeldSplit.of(bundle.train, task, place)
    count = min(training.batch_size, _MOST_TRIED)
    guard.remember()
    flows = spec.diagnostics.HasField("gradient_flow")
    # An empty one where nobody asks.
    with ForwardOrder.of(model if flows else nn.Module()) as forward_order:
        found = checks.dry_run(model, task, train.batch(0, count), train.arrays, spec=spec)
    guard.restore()
    for warning in (*checks.imbalance_warnings(spec, bundle), *found):
        if warning.kind not in warned:
            report.warning(warning)

    plan = Plan.of(training, len(train), sums=task.criterion.reduction == "sum")
    batches = Batches(
        train.arrays,
        plan,
        draw=task.order,
        divisor=divisor_of(task, train.arrays),
        quarters=task.quarters,
    )
    curriculum = _curriculum(
        training,
        batches,
        plan,
        measure=lambda: losses_by_sample(model, task, train, batch_size=training.batch_size),
        given=bundle.difficulty,
        report=report,
    )
    schedule = lr_schedules.build(
        spec.schedule, rate=optimizers.learning_rate(spec.optimizer), length=plan.length
    )
    if type(task).rate_factor is not TaskRunner.rate_factor:
        schedule = schedule.times(task.rate_factor)
    recorder = Recorder(
        report,
        every_steps=training.log_every_steps if training.HasField("log_every_steps") else None,
        clips=training.HasField("clip_norm"),
        watched=_watched(task, precision.scaler),
        watches=type(task).watched is not TaskRunner.watched,
    )
    evaluator = Evaluator(
        spec,
        task=task,
        validation=HeldSplit.of(bundle.validation, task, place),
        plan=plan,
        plateau=schedule.plateau,
        recorder=recorder,
        report=report,
    )
    state = TrainingState(model=model, update=update, order=Order(training.seed))
    weights = WeightWatch(model, state.optimizer)
    learnt: dict[str, Stateful] = {
        "model": Modules(model),
        "loss": Modules(task.criterion, without=model),
        "optimizer": Optimizer(state.optimizer),
    }
    policy = policies.build(
        training.guard,
        policies.PolicyContext(
            guard=guard,
            batches=batches,
            weights=weights,
            look_every_steps=overflow.steps_apart(spec.optimizer),
            num_steps=plan.length.steps,
            learnt=Snapshots(learnt),
            report=report,
        ),
    )
    layers = Layers(model)
    frozen = Frozen(task.criterion)
    health = Health(
        model,
        report,
        warmup_steps=kind(spec.schedule)[1].warmup_steps,  # type: ignore[attr-defined]
        # Where players take turns, gradients of 0 and the loss say whose turn it is.
        warned=[*warned, *(OF_ALL_LAYERS if task.turns > 1 else ())],
        layers=layers,
        flow=_flow_of(spec, layers, forward_order, plan, task) if flows else None,
    )
    random = RandomState(place)
    scaled: dict[str, Stateful] = {} if precision.scaler is None else {"scaler": precision.scaler}
    setup = Setup(
        bundle=bundle,
        task=task,
        train=train,
        test=HeldSplit.of(bundle.test, task, place),
        plan=plan,
        batches=batches,
        curriculum=curriculum or EVERYTHING,
        schedule=schedule,
        guard=guard,
        policy=policy,
        health=health,
        weights=weights,
        recorder=recorder,
        evaluator=evaluator,
        state=state,
        precision=precision,
        step_info=CurrentStep(state),
        snapshots=Snapshots(
            {
                **learnt,
                "random": random,
                "state": state,
                "recorder": recorder,
                "policy": policy,
                **scaled,
                "health": health,
                **({"frozen": frozen} if frozen else {}),
                **({} if curriculum is None else {"curriculum": curriculum}),
            }
        ),
        ahead=DeferredReads(
            state,
            every_steps=deferred.every_steps(
                training.read_every_steps if training.HasField("read_every_steps") else None, place
            ),
            guard=guard,
            recorder=recorder,
            parts={**learnt, "random": random, **scaled, "followed": health.followed},
            due=(
                policy.is_due,
                lambda state: state.step == plan.length.steps,
                lambda state: recorder.must_see(state.step),
            ),
            look=health.is_due,
            watched=dict if precision.scaler is None else precision.scaler.watched,
        ),
    )
    if not precision.is_full:
        guard.remember()
        precision.dry_run(lambda: backward(setup.loss_of(train.batch(0, count))))
        guard.restore()
    return setup


def _curriculum(
    training: Training,
    batches: Batches,
    plan: Plan,
    *,
    measure: Callable[[], Tensor],
    given: Tensor | None,
    report: Reporter,
) -> EasyBeforeHard | None:
    if not training.HasField("curriculum"):
        return None
    return EasyBeforeHard(
        training.curriculum,
        batches=batches,
        num_samples=plan.num_samples,
        num_epochs=plan.epochs,
        measure=measure,
        given=given,
        report=report,
    )


def _watched(task: TaskRunner, scaler: GradScaler | None) -> Callable[[], Mapping[str, float]]:
    """Return what points hold besides what every run's do."""
    if scaler is None:
        return task.watched
    return lambda: {**task.watched(), **scaler.watched()}


def _flow_of(
    spec: JobSpec, layers: Layers, order: ForwardOrder, plan: Plan, task: TaskRunner
) -> GradientFlow:
    return GradientFlow(
        layers,
        order=order.of_layers(list(layers.parameters)),
        points=spec.diagnostics.gradient_flow.points,
        num_steps=plan.length.steps,
        turns=task.turns,
    )


def divisor_of(task: TaskRunner, arrays: Mapping[str, Tensor]) -> Divisor | None:
    """Return what the criterion divides by, where its targets tell."""
    if type(task).loss is not TaskRunner.loss or "target" not in arrays:
        return None
    return task.criterion.divisor
