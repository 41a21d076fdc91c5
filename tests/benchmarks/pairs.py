"""Ratios of two programs that do the same, measured in pairs that run side by side.

Time is processor time, and only ratios are given: the machine may be busy with other things.
"""

import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from tests.benchmarks.table import Row

TOLERANCE = 0.01
"""By how much the upper end of a ratio's interval may exceed the goal that is met."""


@dataclass(frozen=True)
class Ratio:
    """Our time for another's."""

    median: float
    """Of all pairs."""
    low: float
    """Lower end of the median's interval, 95% or a little more."""
    high: float
    """Upper end."""
    num_pairs: int
    """Pairs that were timed."""

    def row(self, what: str, *, goal: float, remark: str) -> Row:
        """Return the table's row: met where the whole interval is, but for `TOLERANCE`."""
        return Row(
            what,
            f"{self.median:.3f} [{self.low:.3f}, {self.high:.3f}]",
            goal=f"{goal:.2f}",
            met=self.high <= goal + TOLERANCE,
            remark=f"median of {self.num_pairs} pairs and its 95% interval; {remark}",
        )


def timed(work: Callable[[], object]) -> Callable[[], float]:
    """Make a side of something to do: it gives the processor seconds that this took."""

    def side() -> float:
        started = time.process_time()
        work()
        return time.process_time() - started

    return side


def ratio(ours: Callable[[], float], other: Callable[[], float], *, num_pairs: int) -> Ratio:
    """Run pairs, alternating which goes first.

    Args:
        ours: One side, which gives its processor seconds; to be run once before, to be warm.
        other: The other side; likewise.
        num_pairs: How often both are run.
    """
    ratios = []
    for pair in range(num_pairs):
        sides = (ours, other) if pair % 2 else (other, ours)
        seconds = {side: side() for side in sides}
        ratios.append(seconds[ours] / seconds[other])
    return Ratio(statistics.median(ratios), *median_interval(ratios), num_pairs)


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the interval of order statistics that covers the median with 95% or a little more."""
    ordered = sorted(values)
    count = len(ordered)
    below = 0.0
    rank = 0
    # Each value lies below the median with probability ½.
    while rank < count // 2:
        below += math.comb(count, rank) / 2**count
        if below > 0.025:
            break
        rank += 1
    rank = max(rank, 1)
    return ordered[rank - 1], ordered[count - rank]


@contextmanager
def one_thread() -> Iterator[None]:
    """Has torch compute on one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
