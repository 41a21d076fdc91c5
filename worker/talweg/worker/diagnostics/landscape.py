"""The loss over a plane through the weights that came of a training.

After Li et al., Visualizing the Loss Landscape of Neural Nets (2018): two random directions, in
which each filter is as long as the weights' own.
"""

import math
import time
from collections.abc import Generator, Sequence
from contextlib import closing
from typing import NamedTuple

import torch
from torch import Tensor

from talweg.v1.jobs_pb2 import LogLine
from talweg.v1.spec_pb2 import LossLandscape
from talweg.worker.tasks import Batch
from talweg.worker.training.batching.batches import Batches, Order, Plan
from talweg.worker.training.interface import Control, Reporter, Stop, Table
from talweg.worker.training.monitors.layers import Layers
from talweg.worker.training.optim.lr_schedules import Length
from talweg.worker.training.setup import Setup
from talweg.worker.training.state.snapshot import Modules, RandomState, Snapshots, seed


class Point(NamedTuple):
    """A point of the plane."""

    one: float
    """How far along the first direction."""
    two: float
    """How far along the second."""
    loss: float
    """The loss there, finite or not."""


def look_around(
    setup: Setup, asked: LossLandscape, *, report: Reporter, control: Control
) -> Stop | None:
    """Take the loss on a grid around a model's weights, in evaluation mode.

    Args:
        setup: A run whose training is over; afterwards it is what it was, bit for bit.
        asked: Which grid, filled.
        report: Takes the table and a line.
        control: Whether to stop, asked at each point.

    Returns:
        Why the run is to end, or to go on elsewhere; None where it is over as it should be. A
        time limit ends but this.
    """
    started = time.monotonic()
    window = samples(setup, asked)
    count = sum(map(len, window))
    points: list[Point] = []
    try:
        with closing(walk(setup, asked, window)) as walked:
            for point in walked:
                points.append(point)
                stop = control.check()
                if stop is None:
                    continue
                if stop.reason != "time_limit":
                    return stop
                report.log(
                    LogLine.WARNING,
                    "The time limit was reached before the loss landscape was complete: it is "
                    "skipped.",
                )
                return None
    except ValueError as exc:
        # Of fewer samples than the loss takes; the training is over, and its result stands.
        sizes = ", ".join(str(len(batch)) for batch in window)
        report.log(
            LogLine.WARNING,
            f"The loss landscape is skipped, since the loss refuses one of its batches of {sizes} "
            f"samples: {exc}. Set diagnostics.loss_landscape.samples to a multiple of "
            "training.batch_size.",
        )
        return None
    report.log(LogLine.INFO, _in_words(points, count, time.monotonic() - started))
    facts = {"middle": _finite_or_text(points[len(points) // 2].loss), "samples": float(count)}
    ones, twos, losses = zip(*points, strict=True)
    report.table(
        "loss_landscape",
        Table(
            {"one": ones, "two": twos, "loss": [_finite_or_text(loss) for loss in losses]}, facts
        ),
    )
    return None


def samples(setup: Setup, asked: LossLandscape) -> list[Batch]:
    """Draw training samples, in batches of the training's size.

    Their losses times their shares sum up to what one optimizer step of them all would pay.
    """
    plan, task, train = setup.plan, setup.learner.task, setup.splits.train
    generator = torch.Generator().manual_seed(asked.seed)
    drawn = task.order(len(train), generator)[: asked.samples]
    arrays = {
        name: array.index_select(0, drawn.to(array.device)).to(train.device)
        for name, array in train.arrays.items()
    }
    as_one_step = Plan(
        num_samples=len(drawn),
        batch_size=plan.batch_size,
        accumulation=math.ceil(len(drawn) / plan.batch_size),
        sums=plan.sums,
        length=Length(steps=1, steps_an_epoch=1),
    )
    batches = Batches(
        arrays,
        as_one_step,
        draw=lambda count, _: torch.arange(count),
        divisor=task.divisor(arrays),
        summands=task.summands(),
    )
    return next(batches.of_epoch(Order(asked.seed)))


def walk(
    setup: Setup, asked: LossLandscape, window: Sequence[Batch]
) -> Generator[Point, None, None]:
    """Return the points of the grid, row by row of the first direction.

    What the loss draws is the same at each of them. Once it is over, or closed, the setup is what
    it was.
    """
    model, task = setup.state.model, setup.learner.task
    weights = [
        parameter
        for of_layer in Layers(model).parameters.values()
        for parameter in of_layer
        if parameter.dim() > 1
    ]
    device = next(model.parameters()).device
    snapshots = Snapshots(
        {
            "model": Modules(model),
            "loss": Modules(task.criterion, without=model),
            "random": RandomState(device),
        }
    )
    before = snapshots.capture()
    middle = [weight.detach().clone() for weight in weights]
    generator = torch.Generator().manual_seed(asked.seed)
    first, second = (direction(middle, generator) for _ in range(2))
    half = asked.points // 2
    steps = [asked.span * (number - half) / half for number in range(asked.points)]
    model.eval()
    task.criterion.eval()
    try:
        for one in steps:
            for two in steps:
                with torch.no_grad():
                    for weight, at, a, b in zip(weights, middle, first, second, strict=True):
                        weight.copy_(at).add_(a, alpha=one).add_(b, alpha=two)
                    seed(device, asked.seed)
                    loss = sum(
                        task.loss(model, batch, setup.learner.step_info) * batch.share
                        for batch in window
                    )
                yield Point(one, two, float(loss))
    finally:
        snapshots.restore(before)
        model.train()
        task.criterion.train()


def direction(weights: Sequence[Tensor], generator: torch.Generator) -> list[Tensor]:
    """Draw a direction in which each filter is as long as the weights' own.

    Args:
        weights: Of at least two dimensions, the first of which counts the filters.
        generator: On the CPU.
    """
    directions = []
    for weight in weights:
        drawn = torch.randn(weight.shape, generator=generator).to(weight)
        rest = tuple(range(1, weight.dim()))
        lengths = torch.linalg.vector_norm(drawn, dim=rest, keepdim=True)
        directions.append(
            drawn / lengths * torch.linalg.vector_norm(weight, dim=rest, keepdim=True)
        )
    return directions


def _finite_or_text(loss: float) -> float | str:
    return loss if math.isfinite(loss) else str(loss)


def _in_words(points: Sequence[Point], num_samples: int, seconds: float) -> str:
    finite = [point for point in points if math.isfinite(point.loss)]
    text = f"The loss of {num_samples} training samples at {len(points)} points around the weights"
    if not finite:
        return f"{text} is not finite anywhere. This took {seconds:.1f} s."
    low = min(finite, key=lambda point: point.loss)
    high = max(finite, key=lambda point: point.loss)
    text += (
        f" is {points[len(points) // 2].loss:.4g} in the centre, {low.loss:.4g} at the minimum, "
        f"at ({low.one:.3g}, {low.two:.3g}), and {high.loss:.4g} at the maximum"
    )
    if len(finite) < len(points):
        text += f"; at {len(points) - len(finite)} it is not finite"
    return f"{text}. This took {seconds:.1f} s."
