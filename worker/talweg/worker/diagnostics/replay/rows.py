"""What each row of a step contributes: its loss, and the norm of the gradients of that."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from talweg.v1.replay_pb2 import ReplayReport
from talweg.worker.diagnostics.replay.undone import Undo
from talweg.worker.losses import LossModule
from talweg.worker.tasks import Batch
from talweg.worker.training.guard.guard import read
from talweg.worker.training.optim import foreach
from talweg.worker.training.setup import Setup
from talweg.worker.training.state.snapshot import RandomState

MOST_GRADIENTS = 500
"""Rows whose gradients are measured, those with the largest losses: each is a backward pass."""

Inputs = Mapping[str, Tensor]


@dataclass(frozen=True)
class RowLosses:
    """The rows of a step, in the order of its batches."""

    measure: ReplayReport.Measure.ValueType
    """What the losses are."""
    losses: Sequence[float]
    """One a row; none where the loss has no values by sample."""
    norms: Mapping[int, float]
    """By position."""

    @property
    def order(self) -> list[int]:
        """The positions, the largest loss first; what is no number stands before all."""
        return sorted(range(len(self.losses)), key=lambda index: -_rank(self.losses[index]))


NONE = RowLosses(ReplayReport.MEASURE_UNSPECIFIED, (), {})
"""Of a loss without values by sample."""


def row_losses(setup: Setup, window: Sequence[Batch], undo: Undo) -> RowLosses:
    """Measure the rows of a step.

    The network runs over each batch as the step itself does, so that normalisation, dropout and
    whatever else is drawn are the step's own; the loss is then taken of each row's outputs.

    Args:
        setup: The training before the step; it stays as it is.
        window: The step's batches.
        undo: Keeps it so.
    """
    criteria = setup.learner.task.weighted_criteria()
    compares = any(criterion.pools_batch for criterion, _ in criteria)
    measures = (ReplayReport.OWN_LOSS, ReplayReport.LEFT_OUT)
    for measure in measures[compares:] if criteria else ():
        with undo():
            try:
                return _measured(setup, window, measure)
            except ValueError:
                # A loss that normalises its batch has no value of one row, and some need more
                # rows than are left.
                continue
    return NONE


def _measured(
    setup: Setup, window: Sequence[Batch], measure: ReplayReport.Measure.ValueType
) -> RowLosses:
    """Take the losses by one measure.

    Raises:
        ValueError: That is not possible.
    """
    joined = [loss for batch in window for loss in _of_batch(setup, batch, measure)]
    losses = RowLosses(measure, read([loss.detach() for loss in joined]), {})
    parameters = [p for p in setup.state.model.parameters() if p.requires_grad]
    # In float16 a row's gradients reach no further than its part of the step's scaled ones.
    scale = setup.step.guard.scale
    factor = 1.0 if scale == 1 else scale / len(joined)
    norms = {
        index: _norm(joined[index] * factor, parameters) / factor
        for index in losses.order[:MOST_GRADIENTS]
    }
    return replace(losses, norms=norms)


def _of_batch(setup: Setup, batch: Batch, measure: ReplayReport.Measure.ValueType) -> list[Tensor]:
    """Return each row's loss, joined to the graph of its batch.

    Raises:
        ValueError: The losses' inputs are not the rows', or are too few.
    """
    learner, count = setup.learner, len(batch)
    criteria = learner.task.weighted_criteria()
    random = RandomState(batch.x.device)
    with _calls_of([criterion for criterion, _ in criteria], random) as calls:
        learner.loss_of(batch)
    once = [of_one[0] for of_one in calls if len(of_one) == 1]
    if len(once) < len(calls) or not all(_is_by_row(call.inputs, count) for call in once):
        raise ValueError("the loss is not called once with its rows")

    def paid(take: Callable[[Tensor], Tensor]) -> Tensor:
        total: Tensor | None = None
        for (criterion, weight), call in zip(criteria, once, strict=True):
            chosen = {
                name: take(tensor) if _has_rows(tensor, count) else tensor
                for name, tensor in call.inputs.items()
            }
            # What a loss draws is the step's own.
            random.restore(call.drawn, {})
            value = criterion(chosen)
            value = value if weight == 1 else value * weight
            total = value if total is None else total + value
        assert total is not None
        return total

    with learner.precision.forward():
        if measure == ReplayReport.OWN_LOSS:
            return [paid(_only(index)) for index in range(count)]
        if count < 2:
            raise ValueError("no row is left")
        whole = paid(_all)
        return [whole - paid(_all_but(index)) for index in range(count)]


def _all(tensor: Tensor) -> Tensor:
    return tensor


def _only(index: int) -> Callable[[Tensor], Tensor]:
    return lambda tensor: tensor[index : index + 1]


def _all_but(index: int) -> Callable[[Tensor], Tensor]:
    return lambda tensor: torch.cat((tensor[:index], tensor[index + 1 :]))


@dataclass(frozen=True)
class _Call:
    """One call of a loss."""

    inputs: Inputs
    """What it was given."""
    drawn: Mapping[str, Tensor]
    """The random state that it found."""


@contextmanager
def _calls_of(criteria: Sequence[LossModule], random: RandomState) -> Iterator[list[list[_Call]]]:
    """Take each loss's calls that are made meanwhile."""
    calls: list[list[_Call]] = [[] for _ in criteria]

    def follow(of_one: list[_Call]) -> Callable[[nn.Module, tuple[Inputs, ...]], None]:
        return lambda _, arguments: of_one.append(_Call(dict(arguments[0]), random.tensors()))

    handles = [
        criterion.register_forward_pre_hook(follow(of_one))
        for criterion, of_one in zip(criteria, calls, strict=True)
    ]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _is_by_row(inputs: Inputs, count: int) -> bool:
    return any(_has_rows(tensor, count) for tensor in inputs.values())


def _has_rows(tensor: Tensor, count: int) -> bool:
    return tensor.dim() > 0 and len(tensor) == count


def _norm(loss: Tensor, parameters: Sequence[nn.Parameter]) -> float:
    if not loss.requires_grad:
        return 0.0
    gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    present = [gradient for gradient in gradients if gradient is not None]
    return math.hypot(*read(foreach.norms(present))) if present else 0.0


def _rank(loss: float) -> float:
    return math.inf if math.isnan(loss) else loss
