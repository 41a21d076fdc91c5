"""What is said of a step that the guard refused: the evidence for people."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from talweg.v1.jobs_pb2 import Divergence
from talweg.worker.tasks import Batch
from talweg.worker.tasks.common.base import Explanation
from talweg.worker.training.guard.guard import LARGEST_NORM, Guard, Reading
from talweg.worker.training.guard.hints import Evidence, hint
from talweg.worker.training.state.training_state import TrainingState

# What gives the loss of a batch, joined to the graph.
LossOf = Callable[[Batch], Tensor]
MOST_SAMPLES = 1000
"""Samples of a step that are listed."""


def diagnose(
    state: TrainingState,
    reading: Reading,
    window: Sequence[Batch],
    *,
    samples: Sequence[int],
    quarter_turns: Sequence[int],
    guard: Guard,
    loss_of: LossOf,
    explain: Callable[[], Explanation | None],
) -> Divergence:
    """Describe a refused step and take it back: all is as before it.

    Args:
        state: The training, with the refused step's gradients.
        reading: What the guard saw.
        window: The step's batches.
        samples: Their samples, as indices into the training part.
        quarter_turns: By how many quarters each of them was turned; empty where none is.
        guard: The guard.
        loss_of: Runs a batch through network and loss.
        explain: Tells what the task knows of a loss that is not a number.
    """
    norms = _norms(state)
    what, value = _refused_value(reading, norms)
    explanations: list[Explanation] = []

    def observed(batch: Batch) -> Tensor:
        loss = loss_of(batch)
        explanation = explain()
        if explanation is not None:
            explanations.append(explanation)
        return loss

    with guard.replaying():
        replay = _replay(state, window, observed)
    explanation = explanations[0] if explanations and what == "loss" else None
    guard.restore()
    module = "" if explanation else replay.module
    if not module and norms and what == "gradient":
        # Large everywhere and finite: the largest gradient's owner.
        module = max(norms, key=lambda name: norms[name]).rpartition(".")[0]
    evidence = _evidence(state, reading, window, samples=samples, outputs=replay.outputs)
    return Divergence(
        step=state.step,
        what=what,
        value=f"{explanation.value if explanation else value:.4g}",
        module=module,
        parameters=[name for name, norm in norms.items() if not norm <= LARGEST_NORM],
        losses=state.losses,
        gradient_norms=state.norms,
        learning_rate=evidence.learning_rate,
        hint=explanation.hint if explanation else hint(evidence),
        samples=samples[:MOST_SAMPLES],
        quarter_turns=quarter_turns[:MOST_SAMPLES],
        bad_samples=sorted({*evidence.bad_inputs, *evidence.bad_targets}),
    )


def _norms(state: TrainingState) -> dict[str, float]:
    """Return the norm of each parameter's gradient, by name."""
    return {
        name: _norm(parameter.grad)
        for name, parameter in state.model.named_parameters()
        if parameter.grad is not None
    }


def _refused_value(reading: Reading, norms: Mapping[str, float]) -> tuple[str, float]:
    """Return what of a step was refused, and its value."""
    if not math.isfinite(reading.loss):
        return "loss", reading.loss
    if reading.norm <= LARGEST_NORM:
        return "statistics", reading.statistics
    return "gradient", math.hypot(*norms.values())


def _evidence(
    state: TrainingState,
    reading: Reading,
    window: Sequence[Batch],
    *,
    samples: Sequence[int],
    outputs: tuple[float, float] | None,
) -> Evidence:
    """Collect what a hint goes by, once the refused step is taken back."""
    targets = [[a for name, a in batch.arrays.items() if name != "x"] for batch in window]
    return Evidence(
        bad_inputs=_bad([[batch.x] for batch in window], samples),
        bad_targets=_bad(targets, samples),
        weights_finite=all(map(_finite, state.model.parameters())),
        outputs=outputs,
        loss_finite=math.isfinite(reading.loss),
        losses=list(state.losses),
        learning_rate=state.update.learning_rate,
    )


def weights_bad(state: TrainingState, bad: dict[str, float]) -> Divergence:
    """Describe weights that have run away, or are not finite.

    Finite gradients can do this too: by a learning rate or weight decay that is far too large.

    Args:
        state: The training, after a step.
        bad: The tensors, with the largest number of each; at least one.
    """
    learning_rate = state.update.learning_rate
    first, value = next(iter(bad.items()))
    return Divergence(
        step=state.step,
        what="weights",
        value=f"{value:.4g}",
        module=first.rpartition(".")[0],
        parameters=list(bad),
        losses=state.losses,
        gradient_norms=state.norms,
        learning_rate=learning_rate,
        hint=f"Lower the learning rate, which was {learning_rate:g}, or the weight decay.",
    )


class _Replay(NamedTuple):
    module: str
    # Least and largest output of the last module that ran, where finite.
    outputs: tuple[float, float] | None


def _replay(state: TrainingState, window: Sequence[Batch], loss_of: LossOf) -> _Replay:
    """Return where a replay first goes bad: forwards by outputs, then backwards by gradients."""
    outputs = None
    for batch in window:
        state.update.clear()
        with _trail(state.model) as trail:
            loss = loss_of(batch)
        for name, module, output in trail:
            if not _finite(output) or not all(map(_finite, module.buffers(recurse=False))):
                return _Replay(name, None)
        if trail and trail[-1][2].numel():
            outputs = _range(trail[-1][2].detach(), outputs)
        torch.autograd.backward(loss)
        below = ""
        for name, module, output in reversed(trail):
            if _too_large(output.grad):
                # What the loss hands to the last module is named by it; else it was made below.
                return _Replay(below or name, outputs)
            if any(_too_large(parameter.grad) for parameter in module.parameters(recurse=False)):
                return _Replay(name, outputs)
            below = name
    return _Replay("", outputs)


def _range(values: Tensor, known: tuple[float, float] | None) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    return (low, high) if known is None else (min(low, known[0]), max(high, known[1]))


@contextmanager
def _trail(model: nn.Module) -> Iterator[list[tuple[str, nn.Module, Tensor]]]:
    """Collect the outputs of all innermost modules, in the order in which they run."""
    trail: list[tuple[str, nn.Module, Tensor]] = []

    def follow(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], object], None]:
        def hook(module: nn.Module, _: tuple[Tensor, ...], output: object) -> None:
            if not isinstance(output, Tensor):
                return
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


def _bad(window: Sequence[Sequence[Tensor]], samples: Sequence[int]) -> list[int]:
    """Return the samples with non-finite values in an array, from the arrays of each batch."""
    if all(_finite(array) for arrays in window for array in arrays):
        return []
    good = torch.cat([torch.stack(list(map(_finite_rows, arrays))).all(0) for arrays in window])
    return [sample for sample, is_good in zip(samples, good.tolist(), strict=True) if not is_good]


def _finite_rows(array: Tensor) -> Tensor:
    return array.isfinite().reshape(len(array), math.prod(array.shape[1:])).all(1)


def _norm(gradient: Tensor) -> float:
    # In float64, where what overflows in float32 still has a size.
    return float(torch.linalg.vector_norm(gradient.detach().double()))


def _finite(values: Tensor) -> bool:
    return bool(torch.isfinite(values).all())


def _too_large(gradient: Tensor | None) -> bool:
    return gradient is not None and not _norm(gradient) <= LARGEST_NORM
