"""What is said of a step that the guard refused: the evidence for people."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from talweg.v1.jobs_pb2 import Divergence
from talweg.worker.tasks import Batch
from talweg.worker.training.guard import LARGEST_NORM, Guard, Reading
from talweg.worker.training.state import TrainingState

# What gives the loss of a batch, joined to the graph.
LossOf = Callable[[Batch], Tensor]


def diagnose(
    state: TrainingState,
    reading: Reading,
    window: Sequence[Batch],
    *,
    guard: Guard,
    loss_of: LossOf,
) -> Divergence:
    """Describes a refused step and takes it back: weights and buffers stay as before it.

    Args:
        state: The training, with the refused step's gradients.
        reading: What the guard saw.
        window: The step's batches.
        guard: The guard.
        loss_of: Runs a batch through network and loss.
    """
    norms = {
        name: _norm(parameter.grad)
        for name, parameter in state.model.named_parameters()
        if parameter.grad is not None
    }
    total = math.hypot(*norms.values())
    what, value = "gradient", total
    if not math.isfinite(reading.loss):
        what, value = "loss", reading.loss
    elif reading.norm <= LARGEST_NORM:
        what, value = "statistics", reading.statistics
    with guard.replaying():
        module = _first_bad_module(state, window, loss_of)
    if not module and norms and what == "gradient":
        # Large everywhere and finite: the largest gradient's owner.
        module = max(norms, key=lambda name: norms[name]).rpartition(".")[0]
    rate = state.optimizer.param_groups[0]["lr"]
    return Divergence(
        step=state.step,
        what=what,
        value=f"{value:.4g}",
        module=module,
        parameters=[name for name, norm in norms.items() if not norm <= LARGEST_NORM],
        losses=state.losses,
        gradient_norms=state.norms,
        learning_rate=rate,
        hint=_hint(state, window, rate),
    )


def weights_not_finite(state: TrainingState) -> Divergence | None:
    """Describes weights that are not finite after the last step; None where all are.

    Finite gradients can do this too: by a learning rate or weight decay that is far too large.
    """
    bad = [name for name, value in state.model.state_dict().items() if not _finite(value)]
    if not bad:
        return None
    rate = state.optimizer.param_groups[0]["lr"]
    return Divergence(
        step=state.step,
        what="weights",
        value=_odd_one(state.model.state_dict()[bad[0]]),
        module=bad[0].rpartition(".")[0],
        parameters=bad,
        losses=state.losses,
        gradient_norms=state.norms,
        learning_rate=rate,
        hint=f"Lower the learning rate, which was {rate:g}, or the weight decay.",
    )


def _first_bad_module(state: TrainingState, window: Sequence[Batch], loss_of: LossOf) -> str:
    """Where a replay first goes bad: forwards by outputs, then backwards by gradients."""
    for batch in window:
        state.update.clear()
        with _trail(state.model) as trail:
            loss = loss_of(batch)
        for name, module, output in trail:
            if not _finite(output) or not all(map(_finite, module.buffers(recurse=False))):
                return name
        torch.autograd.backward(loss)
        below = ""
        for name, module, output in reversed(trail):
            if _too_large(output.grad):
                # What the loss hands to the last module is named by it; else it was made below.
                return below or name
            if any(_too_large(parameter.grad) for parameter in module.parameters(recurse=False)):
                return name
            below = name
    return ""


@contextmanager
def _trail(model: nn.Module) -> Iterator[list[tuple[str, nn.Module, Tensor]]]:
    """Collects the outputs of all innermost modules, in the order in which they run."""
    trail: list[tuple[str, nn.Module, Tensor]] = []

    def follow(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(module: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
            if output.requires_grad:
                output.retain_grad()
            trail.append((name, module, output))

        return hook

    innermost = [(n, m) for n, m in model.named_modules() if next(m.children(), None) is None]
    handles = [module.register_forward_hook(follow(name)) for name, module in innermost]
    try:
        yield trail
    finally:
        for handle in handles:
            handle.remove()


def _hint(state: TrainingState, window: Sequence[Batch], rate: float) -> str:
    if not all(_finite(batch.x) for batch in window):
        return "The inputs of this batch hold values that are not finite: look at the data."
    if not all(_finite(array) for batch in window for array in batch.arrays.values()):
        return "The targets of this batch hold values that are not finite: look at the data."
    if not all(_finite(parameter) for parameter in state.model.parameters()):
        return f"The weights overflowed: lower the learning rate, which was {rate:g}."
    hint = f"Lower the learning rate, which was {rate:g}, or let it warm up"
    return hint + "; training.clip_norm bounds single large steps."


def _norm(gradient: Tensor) -> float:
    # In float64, where what overflows in float32 still has a size.
    return float(torch.linalg.vector_norm(gradient.detach().double()))


def _odd_one(values: Tensor) -> str:
    """The first number that is not finite, in words."""
    return str(float(values[~torch.isfinite(values)][0]))


def _finite(values: Tensor) -> bool:
    return bool(torch.isfinite(values).all())


def _too_large(gradient: Tensor | None) -> bool:
    return gradient is not None and not _norm(gradient) <= LARGEST_NORM
