"""What turns gradients into new weights and clears them: the plain way, and in flat arenas.

In an arena all parameters are views of one tensor, and so are their gradients and the moments of
their optimizer: what is done to each is done to all in a call or two. For networks so small that
calls cost more than numbers this saves a quarter of a step. Large ones it would cost a little,
since autograd must then add to gradients that it could hand over. `update_of` chooses.

Both ways lead to the same weights and the same state of the optimizer, bit for bit. The gradients'
norm is summed up in another order: where it decides by how much they are clipped it is summed up
the plain way, and where it is only told it may differ in its last bits.
"""

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, nn

from talweg.worker.training.optim import foreach, kernels
from talweg.worker.training.optim.arena import Arena
from talweg.worker.training.optim.optimizers import RATE_FACTOR
from talweg.worker.training.optim.untraced import of_torch

LARGEST_FLAT = 200_000
"""Parameters of the largest network that trains in arenas.

The time of an MLP's step in arenas for one the plain way was measured as 0.74 at 10 thousand
parameters, 0.90 at 100 thousand, 0.95 at 200 thousand in few tensors and 0.89 in many, and 1.02 at
400 thousand in few.
"""


class Update:
    """The plain way: one tensor a parameter, and the optimizer's own step.

    Each step: backward, `norms`, perhaps `scale` or `clamp`, `step`, `clear`.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, *, after: Callable[[], None] | None = None
    ) -> None:
        """Take an optimizer.

        Args:
            optimizer: Before its first step.
            after: Called after each step. Hooks of the optimizer see its own steps alone.
        """
        self.optimizer = optimizer
        """Over the parameters. Its state and its settings are public, whatever way steps take."""
        self.learning_rate: float = optimizer.param_groups[0]["lr"]
        """Of parameters whose group has no factor."""
        groups = optimizer.param_groups
        self._rates = [(group, float(group.get(RATE_FACTOR, 1.0))) for group in groups]
        self._parameters: list[nn.Parameter] = [p for group in groups for p in group["params"]]
        self._after = after

    def set_learning_rate(self, learning_rate: float) -> None:
        """Give each group the learning rate of the steps that follow, times its factor."""
        self.learning_rate = learning_rate
        for group, factor in self._rates:
            group["lr"] = learning_rate * factor

    def norms(self, *, exact: bool) -> Sequence[Tensor]:
        """Return scalars whose root of summed squares is the gradients' global norm.

        Args:
            exact: The same to the last bit whatever way steps take; else summed up the quick way.
        """
        return foreach.norms(self._gradients())

    def scale(self, factor: float | Tensor) -> None:
        """Multiply the gradients, by a number or a scalar on their device."""
        foreach.scale(self._gradients(), factor)

    def clamp(self, size: float) -> None:
        """Cut the gradients' elements to a size."""
        for gradient in self._gradients():
            gradient.clamp_(-size, size)

    def step(self, found_inf: Tensor | None = None) -> None:
        """Move the parameters that took part since the gradients were cleared.

        Args:
            found_inf: 1 or 0 on their device (float32). At 1 nothing that is not finite reaches
                them or the optimizer, whatever the gradients hold: fused optimizers then move
                nothing, and others as by gradients of 0. Nobody waits for it. None where it is
                known to be 0.
        """
        self._move(found_inf)
        if self._after is not None:
            self._after()

    def clear(self) -> None:
        """Make ready for the next step; what zero_grad does, at an eighth of its time."""
        for parameter in self._parameters:
            parameter.grad = None

    def close(self) -> None:
        """Leave parameters that stand alone in memory, without gradients."""
        self.clear()

    def _move(self, found_inf: Tensor | None) -> None:
        self._step(found_inf)

    def _step(self, found_inf: Tensor | None) -> None:
        """Take the optimizer's own step."""
        if found_inf is None:
            self.optimizer.step()
        elif getattr(self.optimizer, "_step_supports_amp_scaling", False):
            # So torch's own scaler of gradients holds fused optimizers back.
            self.optimizer.found_inf = found_inf  # type: ignore[attr-defined]
            try:
                self.optimizer.step()
            finally:
                del self.optimizer.found_inf  # type: ignore[attr-defined]
        else:
            is_held = found_inf.bool()
            for gradient in self._gradients():
                gradient.masked_fill_(is_held, 0)
            self.optimizer.step()

    def _gradients(self) -> list[Tensor]:
        return [p.grad for p in self._parameters if p.grad is not None]


class FlatUpdate(Update):
    """The way in arenas.

    A parameter that takes no part in a step has a gradient of zeros here and must keep its value
    and its moments all the same: such a step is the optimizer's own, without that parameter. So is
    the first step of an optimizer that makes its state in it.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, *, after: Callable[[], None] | None = None
    ) -> None:
        """Move an optimizer's parameters into an arena.

        Args:
            optimizer: Of one group of parameters that `fits` lets in; as for `Update`.
            after: As for `Update`.
        """
        super().__init__(optimizer, after=after)
        self._kernel = kernels.KERNELS.get(of_torch(optimizer))
        self._values = Arena(self._parameters, lanes=kernels.LANES)
        self._values.fill(self._parameters)
        self._slopes = Arena(self._parameters, lanes=kernels.LANES)
        # Views share their base's version; these have one each, which autograd counts up.
        self._grads = [view.data for view in self._slopes.views]
        self._versions: list[int] = []
        for parameter, value, grad in zip(
            self._parameters, self._values.views, self._grads, strict=True
        ):
            parameter.data = value
            parameter.grad = grad
        self._state: dict[str, list[Tensor]] = {}
        self._counts = torch.empty(0)
        self._counted = 0
        self._moved = False
        optimizer.register_load_state_dict_post_hook(self._state_was_loaded)
        self.clear()

    def norms(self, *, exact: bool) -> Sequence[Tensor]:
        """Return one scalar; where it must be exact, one a parameter."""
        if exact:
            return foreach.norms(self._grads)
        return (torch.linalg.vector_norm(self._slopes.flat),)

    def clear(self) -> None:
        """Set all gradients to zero."""
        self._slopes.flat.zero_()
        self._versions = list(map(_version, self._grads))

    def close(self) -> None:
        """Give every parameter memory of its own again, and take the gradients away."""
        for parameter in self._parameters:
            parameter.data = parameter.data.clone()
            parameter.grad = None

    def _move(self, found_inf: Tensor | None) -> None:
        """Move all parameters in one call where all took part."""
        versions = list(map(_version, self._grads))
        if any(map(int.__eq__, versions, self._versions)):
            self._step_without(versions, found_inf)
        elif self._kernel is None or not self._is_joined():
            self._step(found_inf)
        else:
            if "step" in self._state:
                self._counts.add_(1 if found_inf is None else 1 - found_inf)
                self._counted = self._counts._version
            settings = self.optimizer.param_groups[0]
            self._kernel.step(
                self._values.pieces, self._slopes.pieces, self._state, settings, found_inf
            )

    def _gradients(self) -> list[Tensor]:
        return [self._slopes.flat]

    def _step_without(self, versions: Sequence[int], found_inf: Tensor | None) -> None:
        """Take a step without the parameters whose gradients nothing was added to."""
        for parameter, grad, now, before in zip(
            self._parameters, self._grads, versions, self._versions, strict=True
        ):
            if parameter.grad is not grad:
                raise RuntimeError(
                    "a gradient was replaced while its parameters train in an arena"
                )
            if now == before:
                parameter.grad = None
        self._step(found_inf)
        for parameter, grad in zip(self._parameters, self._grads, strict=True):
            parameter.grad = grad

    def _is_joined(self) -> bool:
        """Return whether all state is in arenas, and counts the same steps for all parameters."""
        if not self._moved:
            self._moved = self._move_state()
        elif self._counts._version != self._counted:
            # Somebody has restored it, or a step was taken without some parameters.
            if not _all_equal(self._counts):
                return False
            self._counted = self._counts._version
        return self._moved

    def _move_state(self) -> bool:
        """Move the optimizer's state into arenas, once it is all there."""
        assert self._kernel is not None
        names = self._kernel.state(self.optimizer.param_groups[0])
        states: list[dict[str, Any]] = [self.optimizer.state.get(p, {}) for p in self._parameters]
        if not all(isinstance(state.get(name), Tensor) for state in states for name in names):
            return False
        if "step" in names:
            counts = torch.stack([state["step"] for state in states])
            if not _all_equal(counts):
                return False
            self._counts = counts
            self._counted = counts._version
        for name in names:
            if name == "step":
                views = list(self._counts.unbind())
                self._state[name] = [views[0]] * len(self._values.pieces)
            else:
                arena = Arena(self._parameters, lanes=kernels.LANES)
                arena.fill([state[name] for state in states])
                views, self._state[name] = arena.views, arena.pieces
            for state, view in zip(states, views, strict=True):
                state[name] = view
        return True

    def _state_was_loaded(self, _: torch.optim.Optimizer) -> None:
        self._moved = False


def fits(parameters: Sequence[nn.Parameter]) -> bool:
    """Return whether parameters can and should train in arenas.

    Few enough of them that it pays, on the CPU, in float32, without gaps in memory, and trainable.
    """
    return sum(p.numel() for p in parameters) <= LARGEST_FLAT and all(
        p.device.type == "cpu"
        and p.dtype is torch.float32
        and (
            p.is_contiguous()
            or (p.dim() == 4 and p.is_contiguous(memory_format=torch.channels_last))
        )
        and p.requires_grad
        for p in parameters
    )


def update_of(
    optimizer: torch.optim.Optimizer, *, after: Callable[[], None] | None = None
) -> Update:
    """Take the way that is quicker for an optimizer's parameters; arguments as for `Update`."""
    groups = optimizer.param_groups
    way = FlatUpdate if len(groups) == 1 and fits(groups[0]["params"]) else Update
    return way(optimizer, after=after)


_version = attrgetter("_version")


def _all_equal(counts: Tensor) -> bool:
    return bool((counts == counts[0]).all())
