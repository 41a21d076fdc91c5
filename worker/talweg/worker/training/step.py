"""One optimizer step: forward, backward, guard, update and bookkeeping."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

import torch
from torch import Tensor

from talweg.v1.jobs_pb2 import Divergence
from talweg.worker.tasks import Batch, TaskRunner
from talweg.worker.training.deferred import DeferredReads
from talweg.worker.training.distributed.process_group import ALONE, ProcessGroup
from talweg.worker.training.guard.diagnosis import LossOf
from talweg.worker.training.guard.guard import Guard, Reading
from talweg.worker.training.guard.policies import GuardPolicy
from talweg.worker.training.guard.spike_policies import SpikeGuard
from talweg.worker.training.monitors.health import Health
from talweg.worker.training.monitors.recorder import Recorder
from talweg.worker.training.optim.lr_schedules import Schedule
from talweg.worker.training.precision import Precision
from talweg.worker.training.state.training_state import CurrentStep, TrainingState


@dataclass(frozen=True)
class Learner:
    """A model with its task: gives the loss of a batch."""

    task: TaskRunner
    """What the model is trained for."""
    state: TrainingState
    """Has the model."""
    precision: Precision
    """In what numbers batches go through model and loss."""

    @cached_property
    def step_info(self) -> CurrentStep:
        """Where training stands, for losses that go by it."""
        return CurrentStep(self.state)

    def loss_of(self, batch: Batch) -> Tensor:
        """Run a batch through model and loss, and give its part in the step's loss."""
        if self.precision.is_full:
            # A context that does nothing would cost three calls a batch.
            loss = self.task.loss(self.state.model, batch, self.step_info)
        else:
            with self.precision.forward():
                loss = self.task.loss(self.state.model, batch, self.step_info)
        is_whole = isinstance(batch.share, float) and batch.share == 1.0
        return loss if is_whole else loss * batch.share


@dataclass
class Step:
    """Takes the steps of one training."""

    state: TrainingState
    """All that steps change."""
    loss_of: LossOf
    """Gives a batch's part of a step's loss."""
    schedule: Schedule
    """The learning rate of each step."""
    guard: Guard
    """Keeps from the weights what is not finite."""
    policy: GuardPolicy
    """What happens to a step that is refused."""
    spikes: SpikeGuard
    """Sees finite steps that are far out of line, and answers them."""
    health: Health
    """Warns of what is probably not meant."""
    recorder: Recorder
    """Takes what was seen of each step."""
    deferred: DeferredReads | None = None
    """Reads several steps at once; None where each is read by itself."""
    process_group: ProcessGroup = ALONE
    """Whose the steps are."""
    is_settled: bool = field(default=True, init=False)
    """Whether all steps so far are final: else they are still to be read."""
    rolled_back: bool = field(default=False, init=False)
    """Whether the last step has taken training back to an earlier one, whose batches come next."""

    def take(self, window: Sequence[Batch]) -> Divergence | None:
        """Take a step with its batches.

        Returns:
            Why the run must end; None where it goes on.
        """
        state, guard, deferred = self.state, self.guard, self.deferred
        self.rolled_back = False
        is_deferred = deferred is not None and deferred.begin()
        state.step += 1
        learning_rate = self.set_learning_rate()
        samples = sum(map(len, window))
        guard.remember()
        loss = forward_backward(window, self.loss_of, guard.scale, self.process_group)
        if is_deferred:
            found_inf, is_followed = guard.inspect_unread(loss), False
        else:
            reading = self._read(loss, window)
            if not reading.finite:
                return self.policy.refused(state, reading, window, self.loss_of)
            jump = self.spikes.jump(reading, samples, state.applied + 1)
            if jump is not None:
                answer = self.spikes.answer(jump, state, window, self.loss_of)
                if answer.refused:
                    return answer.ending
            self.spikes.add(reading, state.applied + 1)
            found_inf, is_followed = None, self.health.look(state, reading)
        state.update.step(found_inf)
        if is_followed:
            self.health.updated()
        state.update.clear()
        state.applied += 1
        if deferred is None or not is_deferred:
            self._record(state.step, reading, learning_rate, samples)
            return self._passed()
        deferred.add(learning_rate, samples)
        self.is_settled = False
        if not deferred.must_flush or not self.settle():
            return None
        return self._passed()

    def set_learning_rate(self) -> float:
        """Give the optimizer the learning rate of the step under way, and return it.

        Groups of parameters have it times their factors.
        """
        state = self.state
        learning_rate = (
            self.schedule.learning_rate(state.applied + 1, state.lr_reductions) * state.rate_factor
        )
        state.update.set_learning_rate(learning_rate)
        return learning_rate

    def settle(self) -> bool:
        """Make all steps so far final.

        Returns:
            Whether they all stand. If not, training is where they began, and is `rolled_back`.
        """
        if self.deferred is None or self.is_settled:
            return True
        self.is_settled = True
        steps = self.deferred.flush()
        if steps is None:
            self.rolled_back = True
            return False
        for step, reading, at in steps:
            self._record(step.number, reading, step.learning_rate, step.samples, step.watched, at)
        return True

    def inspect(self, window: Sequence[Batch]) -> Reading:
        """Run a step's batches forward and backward, and read what comes of it: no update."""
        self.guard.remember()
        loss = forward_backward(window, self.loss_of, self.guard.scale, self.process_group)
        return self._read(loss, window)

    def _passed(self) -> Divergence | None:
        """Let the policies look at a step that stands; gives why the run must end."""
        ending = self.policy.passed(self.state)
        return self.spikes.passed(self.state) if ending is None and self.spikes.keeps else ending

    def _read(self, loss: Tensor, window: Sequence[Batch]) -> Reading:
        """Read a step; run it again as long as it is its gradients' scale that is at fault."""
        reading = self.guard.inspect(loss)
        while reading.again:
            loss = forward_backward(window, self.loss_of, self.guard.scale, self.process_group)
            reading = self.guard.inspect(loss)
        return reading

    def _record(
        self,
        number: int,
        reading: Reading,
        learning_rate: float,
        samples: int,
        watched: Mapping[str, float] | None = None,
        at: float | None = None,
    ) -> None:
        """Keep the books of a step that stands; arguments as for `Recorder.step`."""
        self.state.losses.append(reading.loss)
        self.state.norms.append(reading.norm)
        self.recorder.step(
            number, reading, learning_rate=learning_rate, samples=samples, watched=watched, at=at
        )


def forward_backward(
    window: Sequence[Batch], loss_of: LossOf, scale: float, process_group: ProcessGroup = ALONE
) -> Tensor:
    """Add up the gradients of a step's batches, times a scale, and give its loss."""
    total = None
    for batch in window:
        loss = process_group.loss(batch, loss_of)
        backward(loss, scale)
        total = loss.detach() if total is None else total + loss.detach()
    assert total is not None
    return process_group.total(total)


def plain_backward(loss: Tensor, scale: float = 1.0) -> None:
    """Add a loss's gradients, times a scale, to those of the leaves."""
    torch.autograd.backward(loss, _scalar(scale, loss.dtype, loss.device))


def _by_engine(run: Callable[..., Any]) -> Callable[..., None]:
    def backward(loss: Tensor, scale: float = 1.0) -> None:
        run(
            (loss,),
            (_scalar(scale, loss.dtype, loss.device),),
            False,
            False,
            (),
            allow_unreachable=True,
            accumulate_grad=True,
        )

    return backward


@cache
def _scalar(value: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.full((), value, dtype=dtype, device=device)


def _chosen() -> Callable[..., None]:
    engine = getattr(torch.autograd.Variable, "_execution_engine", None)
    run = getattr(engine, "run_backward", None)
    return plain_backward if run is None else _by_engine(run)


backward = _chosen()
"""Adds a scalar loss's gradients, times a scale that is 1 where absent, to those of the leaves.

What torch.autograd.backward does around its engine, to keep the compiler's settings for other
threads, costs a tenth of a small network's step. The engine is not part of torch's public
interface: a torch without it gets the plain way.
"""
