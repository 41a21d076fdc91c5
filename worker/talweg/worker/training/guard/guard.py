"""The guard: no loss or gradient that is not finite reaches the weights.

What it needs is read from the device once a step, together with the loss. Before the forward pass
it puts the buffers aside, since a bad batch would otherwise stay in BatchNorm's running
statistics, and the random state, so that the step can be replayed and taken back.

On a GPU reading is waiting. There steps may also be taken unread: the device itself holds back the
update of a bad step and of all that follow it, and what was seen is read for many steps at once.
What is done then is that of `deferred`.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from talweg.worker.training.optim import foreach
from talweg.worker.training.optim.update import Update
from talweg.worker.training.precision import GradScaler
from talweg.worker.training.state.snapshot import Values

LARGEST_NORM = 1e18
"""A gradient norm beyond this counts as not finite: Adam's squares of it would overflow."""
# As torch.nn.utils.clip_grad_norm_ has it.
_CLIP_EPS = 1e-6
# So many numbers on the CPU are quicker read one by one.
_FEW = 8


class Reading(NamedTuple):
    """What the guard saw of a step, before its update."""

    loss: float
    """The step's loss."""
    norm: float
    """Global norm of the gradients, before clipping."""
    statistics: float = 0.0
    """Norm of the floating point buffers, such as BatchNorm's running statistics."""
    clipped: bool = False
    """Whether the gradients were scaled down to the largest norm."""
    again: bool = False
    """Whether the gradients overflowed in float16 by their scale, which is lower now: the step has
    been taken back, and is to be run again."""

    @property
    def finite(self) -> bool:
        """Whether the step may reach the weights."""
        return (
            math.isfinite(self.loss)
            and self.norm <= LARGEST_NORM
            and math.isfinite(self.statistics)
        )


class Guard:
    """Watches one model's steps. Each step: `remember`, forward and backward, `inspect`."""

    def __init__(
        self,
        model: nn.Module,
        update: Update,
        *,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        scaler: GradScaler | None = None,
    ) -> None:
        """Watch a model.

        Args:
            model: The network; on its device already.
            update: Of its parameters.
            clip_norm: Gradients of a larger global norm are scaled down to it.
            clip_value: Gradient elements are cut to this size.
            scaler: Gives the scale of the gradients; 1 where None.
        """
        self._update = update
        self._buffers = list(model.buffers())
        self._statistics = [b for b in self._buffers if b.is_floating_point()]
        self._aside = [buffer.clone() for buffer in self._buffers]
        self._clip_norm = clip_norm
        self._clip_value = clip_value
        self._scaler = scaler
        self._cuda = next((p.device for p in model.parameters() if p.is_cuda), None)
        self._scale_before: Values = {}
        self._random = self._random_state()
        self._unread: list[tuple[Tensor, int, float]] = []
        self._found_inf = torch.zeros((), device=next(model.parameters()).device)

    @property
    def scale(self) -> float:
        """What the step's gradients must be multiplied by in its backward pass."""
        return 1.0 if self._scaler is None else self._scaler.scale

    def remember(self) -> None:
        """Put aside what a forward pass changes."""
        if self._buffers:
            foreach.copy(self._aside, self._buffers)
        self._random = self._random_state()

    def inspect(self, loss: Tensor) -> Reading:
        """Read a step's loss and gradients and, where they are finite, clip the gradients.

        Where it is but their scale that made gradients overflow, the step is taken back.

        Args:
            loss: The loss, detached.
        """
        scalars, count = self._scalars(loss)
        scale = self.scale
        reading = self._reading(read(scalars), count, scale)
        if not reading.finite:
            if self._scaler is not None and math.isfinite(reading.loss + reading.statistics):
                reading = reading._replace(again=self._scaler.lower())
            if reading.again:
                self.restore()
            return reading
        if self._scaler is not None:
            self._scale_before = self._scaler.before_step
            self._scaler.passed()
        factor = 1 / scale
        if self._clip_norm is not None:
            factor *= min(1.0, self._clip_norm / (reading.norm + _CLIP_EPS))
        if factor != 1:
            self._update.scale(factor)
        if self._clip_value is not None:
            self._update.clamp(self._clip_value)
        return reading

    def inspect_unread(self, loss: Tensor) -> Tensor:
        """Do what `inspect` does to a step that is finite, and wait for nothing.

        Args:
            loss: As for `inspect`.

        Returns:
            1 on the device where this step or an unread one before it is bad, else 0: the
            `found_inf` of its update.
        """
        scalars, count = self._scalars(loss)
        scale = self.scale
        row = torch.stack(scalars)
        sizes = row.double()
        norm = torch.linalg.vector_norm(sizes[1 : count + 1]) / scale
        # Of loss and statistics one that is not finite makes their norm so.
        rest = torch.linalg.vector_norm(torch.cat((sizes[:1], sizes[count + 1 :])))
        is_good = (norm <= LARGEST_NORM) & rest.isfinite()
        self._found_inf = torch.maximum(self._found_inf, 1 - is_good.float())
        self._unread.append((row, count, scale))
        if self._scaler is not None:
            self._scaler.passed()
        if self._clip_norm is not None:
            clipping = (self._clip_norm / (norm + _CLIP_EPS)).clamp(max=1)
            self._update.scale((clipping / scale).float())
        elif scale != 1:
            self._update.scale(1 / scale)
        if self._clip_value is not None:
            self._update.clamp(self._clip_value)
        return self._found_inf

    def read_unread(self) -> list[Reading] | None:
        """Read the steps since the last call, in one wait for the device.

        Returns:
            What was seen of each; None where one of them is bad.
        """
        rows, self._unread = self._unread, []
        found_inf, self._found_inf = self._found_inf, torch.zeros_like(self._found_inf)
        numbers = iter(torch.cat((found_inf[None], *(row for row, _, _ in rows))).tolist())
        if next(numbers):
            return None
        readings = [
            self._reading([next(numbers) for _ in range(len(row))], count, scale)
            for row, count, scale in rows
        ]
        return readings if all(reading.finite for reading in readings) else None

    def restore(self) -> None:
        """Take a step back: buffers, gradients and random state are as before it."""
        self.restore_buffers()
        self._update.clear()
        self._set_random_state(self._random)

    def restore_buffers(self) -> None:
        """Make the buffers what they were before the step."""
        if self._buffers:
            foreach.copy(self._buffers, self._aside)

    def take_back(self) -> None:
        """Take a step back that `inspect` has let through, with the scale of its gradients."""
        self.restore()
        if self._scaler is not None:
            self._scaler.restore({}, self._scale_before)

    @contextmanager
    def replaying(self) -> Iterator[None]:
        """Let the step run once more from the same random state, and leave no trace of it."""
        after = self._random_state()
        self.restore()
        try:
            yield
        finally:
            self.restore()
            self._set_random_state(after)

    def _scalars(self, loss: Tensor) -> tuple[list[Tensor], int]:
        """Return the loss, then so many norms of gradients, then those of statistics."""
        # Where they decide by how much gradients are scaled, their last bit counts.
        norms = self._update.norms(exact=self._clip_norm is not None)
        statistics = foreach.norms(self._statistics) if self._statistics else ()
        return [loss, *norms, *statistics], len(norms)

    def _reading(self, scalars: Sequence[float], count: int, scale: float) -> Reading:
        """Return what was seen, once it is read."""
        norm = math.hypot(*scalars[1 : count + 1]) / scale
        is_clipped = self._clip_norm is not None and self._clip_norm / (norm + _CLIP_EPS) < 1
        return Reading(scalars[0], norm, math.hypot(*scalars[count + 1 :]), clipped=is_clipped)

    def _random_state(self) -> tuple[Tensor, Tensor | None]:
        on_cuda = None if self._cuda is None else torch.cuda.get_rng_state(self._cuda)
        return torch.get_rng_state(), on_cuda

    def _set_random_state(self, state: tuple[Tensor, Tensor | None]) -> None:
        on_cpu, on_cuda = state
        torch.set_rng_state(on_cpu)
        if on_cuda is not None and self._cuda is not None:
            torch.cuda.set_rng_state(on_cuda, self._cuda)


def read(scalars: Sequence[Tensor]) -> list[float]:
    """Bring scalars to the CPU: the only wait for the device."""
    if len(scalars) > _FEW or scalars[0].is_cuda:
        values: list[float] = torch.stack(list(scalars)).tolist()
        return values
    return [scalar.item() for scalar in scalars]
