"""The training loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from talweg.v1.jobs_pb2 import Divergence
from talweg.worker.tasks import Batch
from talweg.worker.training.backward import backward
from talweg.worker.training.batches import Batches, Plan
from talweg.worker.training.curriculum import EVERYTHING, Curriculum
from talweg.worker.training.distributed.process_group import ALONE, Team
from talweg.worker.training.guard.diagnosis import LossOf
from talweg.worker.training.guard.guard import Guard, Reading
from talweg.worker.training.interface import Control, Reporter, Stop
from talweg.worker.training.monitors.health import Health
from talweg.worker.training.optim.lr_schedules import Schedule
from talweg.worker.training.recorder import Recorder
from talweg.worker.training.state.training_state import TrainingState


class Evaluator(Protocol):
    """What happens between epochs."""

    def is_due(self, state: TrainingState) -> bool:
        """Return whether the epoch that has ended is one to evaluate after."""

    def epoch_ended(self, state: TrainingState) -> bool:
        """Evaluate where it is due, and tell whether training is to go on."""


class Policy(Protocol):
    """What happens to steps that the guard refuses."""

    def passed(self, state: TrainingState) -> Divergence | None:
        """Take a step that is done; gives why the run must end, where it must."""

    def refused(
        self, state: TrainingState, reading: Reading, window: Sequence[Batch], loss_of: LossOf
    ) -> Divergence | None:
        """Take a refused step back; gives why the run must end, where it must."""


class Checkpoints(Protocol):
    """What keeps the state, so that another attempt can go on from it."""

    def is_due(self) -> bool:
        """Return whether the state must be kept at this very step."""

    def step_done(self) -> None:
        """Keep the state where that is due: called between steps, so this must be cheap."""

    def evaluated(self) -> None:
        """Look at an evaluation, should the state be the best so far."""


class DeferredReads(Protocol):
    """Steps that are taken before they are read."""

    is_open: bool
    """Whether the step under way is one of them."""
    rolled_back: bool
    """Whether training has gone back to an earlier step, and not gone on since."""

    def begin(self) -> None:
        """Decide, between two steps, whether the next is one of them."""

    def take(self, loss: Tensor, *, rate: float, samples: int) -> None:
        """Take one of them, once its gradients are there."""

    @property
    def must_flush(self) -> bool:
        """Whether they are to be read now."""

    def read(self) -> bool:
        """Read them, if there are any, and tell whether all that was done stands."""


class _ReadsEach:
    is_open = rolled_back = must_flush = False

    def begin(self) -> None:
        pass

    def take(self, loss: Tensor, *, rate: float, samples: int) -> None:
        raise AssertionError("each step is read")

    def read(self) -> bool:
        return True


READS_EACH: DeferredReads = _ReadsEach()
"""Takes no step before the last is read."""


class _NoCheckpoints:
    def is_due(self) -> bool:
        return False

    def step_done(self) -> None:
        pass

    def evaluated(self) -> None:
        pass


NO_CHECKPOINTS: Checkpoints = _NoCheckpoints()
"""Keeps nothing."""


def train(
    state: TrainingState,
    *,
    plan: Plan,
    batches: Batches,
    loss_of: LossOf,
    schedule: Schedule,
    guard: Guard,
    policy: Policy,
    health: Health,
    recorder: Recorder,
    evaluator: Evaluator,
    report: Reporter,
    control: Control,
    checkpoints: Checkpoints = NO_CHECKPOINTS,
    team: Team = ALONE,
    ahead: DeferredReads = READS_EACH,
    curriculum: Curriculum = EVERYTHING,
) -> Stop | Divergence | None:
    """Train from the state's step to the plan's last.

    Returns:
        What cut it short: the control's stop, or a step that the guard refused and that the
        policy did not go on from. A refused step's batches leave no trace in weights, buffers and
        optimizer. None at the end.
    """
    settings = state.optimizer.param_groups[0]
    last_step, last_epoch = plan.length.steps, plan.epochs
    while state.step < last_step and not state.stopped_early:
        ahead.begin()
        if state.order.position == 0:
            state.epoch += 1
        curriculum.epoch_begins(state.epoch)
        for window in batches.of_epoch(state.order):
            state.step += 1
            rate = schedule.rate(state.applied + 1, state.falls) * state.refusals.rate_factor
            settings["lr"] = rate

            divergence = None
            guard.remember()
            loss = forward_backward(window, loss_of, guard.scale, team)
            if ahead.is_open:
                ahead.take(loss, rate=rate, samples=_count(window))
                if ahead.must_flush or checkpoints.is_due():
                    if not ahead.read():
                        break
                    divergence = policy.passed(state)
            elif (reading := read(loss, window, loss_of, guard, team)).finite:
                is_followed = health.look(state, reading)
                state.update.step()
                if is_followed:
                    health.updated()
                state.update.clear()
                state.applied += 1
                state.losses.append(reading.loss)
                state.norms.append(reading.norm)
                recorder.step(state.step, reading, rate=rate, samples=_count(window))
                divergence = policy.passed(state)
            else:
                divergence = policy.refused(state, reading, window, loss_of)
            if divergence is not None:
                return divergence
            report.progress(state.step, last_step, state.epoch, last_epoch)
            if state.step == last_step:
                break
            if not ahead.is_open:
                checkpoints.step_done()
            stop = control.check()
            if stop is not None:
                ahead.read()
                return stop
            ahead.begin()
        must_stand = curriculum.is_told or evaluator.is_due(state)
        if ahead.rolled_back or (must_stand and not ahead.read()):
            continue
        curriculum.epoch_ended(state.step)
        state.stopped_early = not evaluator.epoch_ended(state)
        if state.order.position == plan.length.steps_an_epoch:
            state.order.position = 0
        checkpoints.evaluated()
    return None


def forward_backward(
    window: Sequence[Batch], loss_of: LossOf, scale: float, team: Team = ALONE
) -> Tensor:
    """Add up the gradients of a step's batches, times a scale, and give its loss."""
    total = None
    for batch in window:
        loss = team.loss(batch, loss_of)
        backward(loss, scale)
        total = loss.detach() if total is None else total + loss.detach()
    assert total is not None
    return team.total(total)


def read(
    loss: Tensor, window: Sequence[Batch], loss_of: LossOf, guard: Guard, team: Team = ALONE
) -> Reading:
    """Read a step, and run it again as long as it is its gradients' scale that is at fault."""
    reading = guard.inspect(loss)
    while reading.again:
        reading = guard.inspect(forward_backward(window, loss_of, guard.scale, team))
    return reading


def _count(window: Sequence[Batch]) -> int:
    return sum(len(batch) for batch in window)
