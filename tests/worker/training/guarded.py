"""A run that is taken step by step, with batches that a test may poison."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from talweg.v1.jobs_pb2 import Divergence
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.tasks import Batch
from talweg.worker.training import NeverStop, NullReporter
from talweg.worker.training.batching.batches import Order
from talweg.worker.training.loop import train
from talweg.worker.training.setup import Setup, set_up

CPU = torch.device("cpu")
BATCH_NORM = {"mlp": {"hidden": [16, 8], "batch_norm": True, "dropout": 0.3}}


class Changed:
    """The batches of a run, some of them changed on the way."""

    def __init__(self, setup: Setup, change: Callable[[int, list[Batch]], list[Batch]]) -> None:
        self._setup = setup
        self._change = change

    def of_epoch(self, order: Order) -> Iterator[list[Batch]]:
        for window in self._setup.batches.of_epoch(order):
            yield self._change(self._setup.state.step + 1, window)


def changed(batch: Batch, **arrays: Tensor) -> Batch:
    return replace(batch, arrays={**batch.arrays, **arrays})


def poison(at: int, value: float, *, batch: int = 0) -> Callable[[int, list[Batch]], list[Batch]]:
    """Put a value into one input of one step."""

    def change(step: int, window: list[Batch]) -> list[Batch]:
        if step != at:
            return window
        x = window[batch].x.clone()
        x[1, 2] = value
        return [changed(b, x=x) if i == batch else b for i, b in enumerate(window)]

    return change


def as_it_is(step: int, window: list[Batch]) -> list[Batch]:
    return window


def steps(
    setup: Setup,
    change: Callable[[int, list[Batch]], list[Batch]] = as_it_is,
    *,
    loss_of: Callable[[Batch], Tensor] | None = None,
) -> Divergence | None:
    """Train from the first step, with a seed for dropout."""
    torch.manual_seed(1)
    if loss_of is not None:
        setup.step.loss_of = loss_of
    ending = train(
        setup.step,
        plan=setup.plan,
        batches=Changed(setup, change),  # type: ignore[arg-type]
        evaluator=setup.evaluator,
        report=NullReporter(),
        control=NeverStop(),
    )
    assert ending is None or isinstance(ending, Divergence)
    return ending


def ready(spec: JobSpec) -> Setup:
    return set_up(spec, CPU, NullReporter())


def same(one: Any, other: Any) -> bool:
    """Return whether nested states agree bit for bit."""
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)
