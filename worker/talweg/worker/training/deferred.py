"""Steps that are taken before the guard has read what it must know of them.

Each reading waits for the device, and a GPU that is waited for each step is idle half the time
where steps are small. So a window of steps is taken unread, and then read at once. The device
itself holds back the updates from the first bad step on, so that nothing which is not finite
reaches weights or optimizer. Where the reading shows a bad step, training goes back to the state
before the window, of which a copy was made on the device, and takes its steps once more, each of
them read: so whatever follows is what would have followed had each step been read at first.

A window ends early where somebody is to look: at a step with which a policy keeps the weights or
looks at them, before a step whose gradients `health` looks at, at a checkpoint, an evaluation, a
stop, and at a point of metrics that holds more than the guard has read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from talweg.worker.training.guard.guard import Guard
from talweg.worker.training.recorder import Recorder
from talweg.worker.training.state.snapshot import Snapshot, Snapshots, Stateful, Values
from talweg.worker.training.state.training_state import TrainingState

EVERY_STEPS = {"cpu": 1, "cuda": 20}
"""Steps that are read at once where the job does not say it, by type of device."""

Due = Callable[[TrainingState], bool]
"""Tells of a step that was just taken whether a window must end with it."""


@dataclass(frozen=True)
class _Step:
    """A step that was taken and is not yet read."""

    number: int
    rate: float
    samples: int
    watched: Mapping[str, float]


class DeferredReads:
    """Takes steps of one training unread, where that is worth while."""

    def __init__(
        self,
        state: TrainingState,
        *,
        every_steps: int,
        guard: Guard,
        recorder: Recorder,
        parts: Mapping[str, Stateful],
        due: Collection[Due],
        look: Due,
        watched: Callable[[], Mapping[str, float]] = dict,
    ) -> None:
        """Has no window open.

        Args:
            state: The training.
            every_steps: Steps in a window; none is ever open where it is 1.
            guard: Reads.
            recorder: Is told of steps once they are read.
            parts: All else that steps change, by name.
            due: What windows must end for.
            look: Tells whether the next step must be read before its update.
            watched: Gives what points hold of the very step; must not wait for the device.
        """
        self._state, self._guard, self._recorder = state, guard, recorder
        self._every_steps = every_steps
        self._due, self._look, self._watched = (*due, look), look, watched
        self._snapshots = Snapshots({**parts, "place": _Place(state)})
        self._before: Snapshot | None = None
        self._steps: list[_Step] = []
        # The last step that was in a window with a bad one: up to there each is read.
        self._read_up_to = 0
        self._last_read = time.perf_counter()
        self.is_open = False
        """Whether the next step is one of a window, or the last one was."""
        self.rolled_back = False
        """Whether training has gone back to an earlier step, and not gone on since."""
        self.num_reads = 0
        """How often windows have been read."""

    def begin(self) -> None:
        """Open a window, between two steps, unless one is open or the next step must be read."""
        self.rolled_back = False
        if self.is_open or self._every_steps == 1:
            return
        if self._state.step < self._read_up_to or self._look(self._state):
            return
        self._before = self._snapshots.capture(self._before)
        self._last_read = time.perf_counter()
        self.is_open = True

    def take(self, loss: Tensor, *, rate: float, samples: int) -> None:
        """Take a step of the open window.

        Args:
            loss: Of all its samples, detached; its gradients are there.
            rate: Its learning rate.
            samples: How many it has.
        """
        state = self._state
        held = self._guard.inspect_unread(loss)
        state.update.step(held)
        state.update.clear()
        state.applied += 1
        self._steps.append(_Step(state.step, rate, samples, self._watched()))

    @property
    def must_flush(self) -> bool:
        """Whether the window ends with the step that was just taken."""
        return len(self._steps) >= self._every_steps or any(due(self._state) for due in self._due)

    def read(self) -> bool:
        """End the window, if one is open, and read its steps.

        Returns:
            Whether all that was done stands. If not, training is where the window began.
        """
        if not self.is_open:
            return True
        self.is_open = False
        steps, self._steps = self._steps, []
        if not steps:
            return True
        state = self._state
        self.num_reads += 1
        readings = self._guard.read_unread()
        if readings is None:
            assert self._before is not None
            self._read_up_to = state.step
            self._snapshots.restore(self._before)
            state.update.clear()
            self.rolled_back = True
            return False
        # The device says when it was done with all of them, and not with each.
        now = time.perf_counter()
        apart = (now - self._last_read) / len(steps)
        for count, (step, reading) in enumerate(zip(steps, readings, strict=True), 1):
            state.losses.append(reading.loss)
            state.norms.append(reading.norm)
            self._recorder.step(
                step.number,
                reading,
                rate=step.rate,
                samples=step.samples,
                watched=step.watched,
                at=self._last_read + count * apart,
            )
        return True


class _Place:
    """How far a training has come: what of its state each step changes."""

    def __init__(self, state: TrainingState) -> None:
        self._state = state

    def tensors(self) -> Mapping[str, Tensor]:
        return {"order": self._state.order.state}

    def values(self) -> Values:
        state = self._state
        return {
            "step": state.step,
            "applied": state.applied,
            "epoch": state.epoch,
            "position": state.order.position,
        }

    def restore(self, tensors: Mapping[str, Tensor], values: Values) -> None:
        state = self._state
        state.step, state.applied = values["step"], values["applied"]
        state.epoch = values["epoch"]
        state.order.go_to(tensors["order"], values["position"])


def every_steps(asked: int | None, place: torch.device) -> int:
    """Return the steps that are read at once: those that a job asks for, or the device's."""
    return EVERY_STEPS[place.type] if asked is None else asked
