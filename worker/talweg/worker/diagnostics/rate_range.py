"""The learning-rate range test: how the loss goes while the rate rises, and the rate to take.

After Smith, Cyclical Learning Rates for Training Neural Networks (2017).
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from talweg.v1.jobs_pb2 import LogLine
from talweg.v1.spec_pb2 import RateRange
from talweg.worker.tasks import Batch
from talweg.worker.training.interface import Control, Reporter, Table
from talweg.worker.training.setup import Setup

# Of the running mean that tells a blow-up.
_DECAY = 0.9
_FIRST = 5
# Of the steps in a window, and the fewest on each side of its middle.
_WINDOW, _LEAST_HALF = 1 / 8, 2
# A fall counts that is so many standard errors of a window's mean: the largest among the means of
# noise alone is about three.
_CLEARLY = 6.0
_LEVEL = 0.75
# From the median of absolute deviations to the standard deviation of normal noise.
_MAD_TO_SD = 1.4826


def try_learning_rates(
    setup: Setup, asked: RateRange, *, learning_rate: float, report: Reporter, control: Control
) -> None:
    """Take steps at rising rates, tell what came of them, and take all of it back.

    Args:
        setup: A run before its first step; afterwards it is what it was, bit for bit.
        asked: Which rates, filled.
        learning_rate: The job's own, to be told beside the suggestion.
        report: Takes the table, the suggestion as a metric of step 0, and a line.
        control: Whether to stop before.
    """
    rates = np.geomspace(asked.lowest, asked.highest, asked.steps).tolist()
    before = setup.snapshots.capture()
    try:
        losses = _losses(setup, rates, control)
    finally:
        setup.snapshots.restore(before)
    if not losses:
        return
    rates = rates[: len(losses)]
    suggested = suggestion(rates, losses)
    table = {"rate": rates, "loss": losses, "smoothed": smoothed(losses)}
    facts: dict[str, float | str] = {"rate": learning_rate}
    tried = f"In {len(losses)} steps at learning rates from {rates[0]:.3g} to {rates[-1]:.3g}"
    if suggested is None:
        report.log(
            LogLine.INFO,
            f"{tried} the loss never clearly decreased: no learning rate is suggested.",
        )
    else:
        facts["suggested"] = suggested
        report.metrics(0, {"rate_range/suggested": suggested})
        report.log(
            LogLine.INFO,
            f"{tried} the loss decreased fastest at {suggested:.3g}, which is the suggested "
            f"learning rate. The job's own is {learning_rate:.3g}.",
        )
    report.table("rate_range", Table(table, facts))


def suggestion(rates: Sequence[float], losses: Sequence[float]) -> float | None:
    """Return the rate at which the losses fall fastest over the rate's logarithm.

    Args:
        rates: Rising exponentially.
        losses: Each before the step at its rate; as many.

    Returns:
        One of the rates; None where the losses fall by no more than they jump from step to step.
    """
    half = _half(len(losses))
    if len(losses) < 2 * half + 2:
        return None
    # A loss is what the rates before its own made of it.
    values = np.asarray(losses[1:])
    whole = slice(half, len(losses) - half)
    means = np.asarray(smoothed(losses))[whole]
    jumps = np.abs(np.asarray(losses)[whole] - means)
    error = _MAD_TO_SD * float(np.median(jumps)) / math.sqrt(2 * half + 1)
    lowest = int(means.argmin())
    # Before the fall the loss stands at one level, up to noise: it falls where it leaves that.
    level = float(np.quantile(means[: lowest + 1], _LEVEL))
    if level - means[lowest] <= _CLEARLY * error:
        return None
    leaves = int(np.flatnonzero(means[: lowest + 1] >= level)[-1])
    # Each window's slope, by least squares; all have the same spread, for the steps are even.
    offsets = np.arange(-half, half + 1)
    slopes = np.convolve(values, offsets[::-1], "valid") / (offsets**2).sum()
    first = max(leaves - 1, 0)
    best = first + int(slopes[first:lowest].argmin())
    return rates[best + half]


def smoothed(losses: Sequence[float]) -> list[float]:
    """Return the mean of the losses about each; near the ends about as many on either side."""
    half = _half(len(losses))
    last = len(losses) - 1
    means = []
    for index in range(len(losses)):
        reach = min(half, index, last - index)
        about = losses[index - reach : index + reach + 1]
        means.append(math.fsum(about) / len(about))
    return means


def _half(count: int) -> int:
    return max(_LEAST_HALF, round(count * _WINDOW / 2))


def _losses(setup: Setup, rates: Sequence[float], control: Control) -> list[float]:
    """Return the loss before each step, until it blows up or the run is to stop."""
    state, step = setup.state, setup.step
    losses: list[float] = []
    running = 0.0
    windows = _windows(setup)
    for rate in rates:
        window = next(windows)
        reading = step.inspect(window)
        if not reading.finite or control.check() is not None:
            step.guard.restore()
            break
        losses.append(reading.loss)
        running = _DECAY * running + (1 - _DECAY) * reading.loss
        if _blown_up(losses, running / (1 - _DECAY ** len(losses))):
            step.guard.restore()
            break
        state.update.set_learning_rate(rate)
        state.update.step()
        state.update.clear()
        state.applied += 1
    return losses


def _blown_up(losses: Sequence[float], running: float) -> bool:
    if len(losses) <= 2 * _FIRST:
        return False
    first = math.fsum(losses[:_FIRST]) / _FIRST
    return running > first + max(abs(first), first - min(losses))


def _windows(setup: Setup) -> Iterator[Sequence[Batch]]:
    """Return the batches of each step, epoch after epoch."""
    state = setup.state
    while True:
        state.epoch += 1
        setup.curriculum.epoch_begins(state.epoch)
        yield from setup.batches.of_epoch(state.order)
        state.order.position = 0
