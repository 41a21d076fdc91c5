"""Steps that are taken before the guard has read what it must know of them.

Each reading waits for the device, and a GPU that is waited for each step is idle half the time
where steps are small. So a window of steps is taken unread, and then read at once. The device
itself holds back the updates from the first bad step on, so that nothing which is not finite
reaches weights or optimizer. Where the reading shows a bad step, training goes back to the state
before the window, of which a copy was made on the device, and takes its steps once more, each of
them read: so whatever follows is what would have followed had each step been read at first. So it
does where a step is finite and far out of line.

A window ends early where somebody is to look: at a step with which a policy keeps the weights or
looks at them, before a step whose gradients `health` looks at, at a checkpoint, an evaluation, a
stop, and at a point of metrics that holds more than the guard has read. `setup` names them all;
`Step` takes the steps and keeps their books, whenever they are read.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from talweg.worker.training.guard.guard import Guard, Reading
from talweg.worker.training.guard.spike_policies import TakenStep
from talweg.worker.training.state.snapshot import Snapshot, Snapshots, Stateful, Values
from talweg.worker.training.state.training_state import TrainingState

EVERY_STEPS = {"cpu": 1, "cuda": 20}
"""Steps that are read at once where the job does not say it, by type of device."""

Due = Callable[[TrainingState], bool]
"""Tells of a step that was just taken whether a window must end with it."""


@dataclass(frozen=True)
class Unread:
    """A step that was taken and is not yet read."""

    number: int
    """The step's number."""
    learning_rate: float
    """Its learning rate."""
    samples: int
    """How many it had."""
    watched: Mapping[str, float]
    """What points hold of the very step."""


class DeferredReads:
    """Windows of steps that are taken unread, where that is worth while."""

    def __init__(
        self,
        state: TrainingState,
        *,
        every_steps: int,
        guard: Guard,
        parts: Mapping[str, Stateful],
        due: Collection[Due],
        look: Due,
        all_stand: Callable[[Sequence[TakenStep]], bool],
        watched: Callable[[], Mapping[str, float]] = dict,
    ) -> None:
        """Begin with no window open.

        Args:
            state: The training.
            every_steps: Steps in a window, at the most.
            guard: Reads the steps.
            parts: All else that steps change, by name.
            due: What windows must end for.
            look: Tells whether the next step must be read before its update.
            all_stand: Takes the steps of a window, which are finite; False where one of them must
                be looked at by itself.
            watched: Gives what points hold of the very step; must not wait for the device.
        """
        self._state, self._guard = state, guard
        self._every_steps = every_steps
        self._due, self._look, self._watched = (*due, look), look, watched
        self._all_stand = all_stand
        self._snapshots = Snapshots({**parts, "progress": _Progress(state)})
        self._before: Snapshot | None = None
        self._steps: list[Unread] = []
        self._is_open = False
        # The last step that was in a window with a bad one: up to there each is read.
        self._read_up_to = 0
        self._last_read = time.perf_counter()

    def begin(self) -> bool:
        """Begin a step whose batches are drawn, and tell whether it may be taken unread.

        It may where a window is open; and one is opened, unless the step must be read.
        """
        if self._is_open:
            return True
        if self._state.step < self._read_up_to or self._look(self._state):
            return False
        self._before = self._snapshots.capture(self._before)
        self._last_read = time.perf_counter()
        self._is_open = True
        return True

    def add(self, learning_rate: float, samples: int) -> None:
        """Add the step that was just taken to the open window."""
        self._steps.append(Unread(self._state.step, learning_rate, samples, self._watched()))

    @property
    def must_flush(self) -> bool:
        """Whether the window ends with the step that was just taken."""
        return len(self._steps) >= self._every_steps or any(due(self._state) for due in self._due)

    def flush(self) -> list[tuple[Unread, Reading, float]] | None:
        """End the open window, and read its steps.

        Returns:
            Each step, what the guard saw of it, and when it was done by the performance counter.
            None where one of them is bad, or out of line: training is where the window began.
        """
        self._is_open = False
        steps, self._steps = self._steps, []
        readings = self._guard.read_unread()
        first = self._state.applied - len(steps) + 1
        if readings is None or not self._all_stand(
            [
                TakenStep(step.number, first + place, step.samples, reading)
                for place, (step, reading) in enumerate(zip(steps, readings, strict=True))
            ]
        ):
            assert self._before is not None
            self._read_up_to = self._state.step
            self._snapshots.restore(self._before)
            self._state.update.clear()
            return None
        # The device says when it was done with all of them, and not with each.
        apart = (time.perf_counter() - self._last_read) / len(steps)
        return [
            (step, reading, self._last_read + count * apart)
            for count, (step, reading) in enumerate(zip(steps, readings, strict=True), 1)
        ]


class _Progress:
    """How far a training had come before the step whose batches are drawn."""

    def __init__(self, state: TrainingState) -> None:
        self._state = state

    def tensors(self) -> Mapping[str, Tensor]:
        return {"order": self._state.order.state}

    def values(self) -> Values:
        state = self._state
        position = state.order.position - 1
        return {
            "step": state.step,
            "applied": state.applied,
            # The first step of an epoch has begun it.
            "epoch": state.epoch if position else state.epoch - 1,
            "position": position,
        }

    def restore(self, tensors: Mapping[str, Tensor], values: Values) -> None:
        state = self._state
        state.step, state.applied = values["step"], values["applied"]
        state.epoch = values["epoch"]
        state.order.go_to(tensors["order"], values["position"])


def every_steps(asked: int | None, device: torch.device) -> int:
    """Return the steps that are read at once: those that a job asks for, or the device's."""
    return EVERY_STEPS[device.type] if asked is None else asked
