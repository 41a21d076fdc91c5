"""Sees steps whose loss or gradient norm is finite and far above those of the steps before.

A spike is told by a robust z-score, one-sided: how many robust standard deviations a value is
above the median of a window of steps. What that takes is computed now and then; a step costs two
comparisons, and its readings are those that the guard makes anyway.
"""

import math
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

from talweg.worker.training.guard.guard import Reading
from talweg.worker.training.state.snapshot import Values

FEWEST = 16
"""Steps in a window before the first that may be a spike."""
# From the median absolute deviation to the sd, under a normal distribution.
_SD_PER_MAD = 1.4826
# Of logarithms: what hardly varies is still free to rise a little.
_LEAST_SD = {"loss": 0.1, "gradient": 0.2}
# Of values that are not all positive, as a share of their size: the quantile of their sizes.
_LEAST_SHARE, _SIZE_QUANTILE = 0.25, 0.9
_LARGEST_LOG = math.log(sys.float_info.max)


@dataclass(frozen=True)
class Jump:
    """A value that is far above those of the steps before it."""

    what: str
    """loss or gradient."""
    value: float
    """The value."""
    median: float
    """Of the steps before it."""
    deviations: float
    """Robust standard deviations between the two."""
    num_steps: int
    """Steps that it was compared with."""
    first: float | None = None
    """The first step's loss, where that alone is what it is far above: the others are 0 then."""


class _Measure(NamedTuple):
    """What a window says of its values, or of their logarithms."""

    is_log: bool
    median: float
    sd: float


class _Window:
    """The last values of the loss, or of the gradient norm."""

    def __init__(self, what: str, size: int, threshold: float, max_growth: float) -> None:
        self._what, self._threshold, self._max_growth = what, threshold, max_growth
        self._values: deque[float] = deque(maxlen=size)
        self._until_refresh = FEWEST
        self._first: float | None = None
        # No value up to it is looked at, whatever the size of its batch.
        self.limit = math.inf

    def add(self, value: float) -> None:
        if self._first is None:
            self._first = value
            self.limit = self._most()
        self._values.append(value)
        self._until_refresh -= 1
        if not self._until_refresh:
            # Computing it costs a hundred times what a step may cost: when the window is twice as
            # long, and then when all of it is new.
            self._until_refresh = len(self._values)
            self.limit = self._limit()

    def jump(self, value: float, share: float) -> Jump | None:
        """Return what a value beyond the limit is, from a batch of a share of the usual size."""
        if value <= self.limit:
            return None
        jump = self._above_median(value, share) if len(self._values) >= FEWEST else None
        if jump is None and self._first is not None and value > self._most():
            return Jump(self._what, value, 0.0, 0.0, 1, first=self._first)
        return jump

    def _above_median(self, value: float, share: float) -> Jump | None:
        # The limit is of some steps ago. Nothing may be kept of a step that is refused.
        is_log, median, sd = self._measure()
        if not sd > 0:
            return None
        height = math.log(max(value, sys.float_info.min)) if is_log else value
        # The mean of fewer samples varies more.
        deviations = (height - median) / (sd / math.sqrt(min(share, 1.0)))
        if deviations <= self._threshold:
            return None
        usual = math.exp(median) if is_log else median
        return Jump(self._what, value, usual, deviations, len(self._values))

    def values(self) -> Values:
        return {
            "values": list(self._values),
            "until_refresh": self._until_refresh,
            "limit": self.limit,
            "first": self._first,
        }

    def restore(self, values: Values) -> None:
        self._values.clear()
        self._values.extend(values["values"])
        self._until_refresh, self.limit = values["until_refresh"], values["limit"]
        self._first = values["first"]

    def _measure(self) -> _Measure:
        is_log = min(self._values) > 0
        ordered = sorted(map(math.log, self._values) if is_log else self._values)
        median = _median(ordered)
        mad = _median(sorted([abs(height - median) for height in ordered]))
        least = _LEAST_SD[self._what] if is_log else _LEAST_SHARE * _size(ordered)
        return _Measure(is_log, median, max(_SD_PER_MAD * mad, least))

    def _most(self) -> float:
        """Return what the first value allows."""
        return self._max_growth * self._first if self._first and self._first > 0 else math.inf

    def _limit(self) -> float:
        is_log, median, sd = self._measure()
        # Of nothing but zeros nothing is known.
        if not sd > 0:
            return self._most()
        height = median + self._threshold * sd
        return min(math.exp(min(height, _LARGEST_LOG)) if is_log else height, self._most())


class SpikeDetector:
    """Knows the last steps of a training, and tells which step is a spike; `Stateful`."""

    def __init__(
        self,
        *,
        window: int,
        threshold: float,
        max_growth: float,
        batch_size: int,
        num_players: int = 1,
        player: Callable[[int], int] = lambda step: 0,
    ) -> None:
        """Know no steps yet.

        Args:
            window: Steps that a step is compared with.
            threshold: Robust standard deviations beyond which it is a spike.
            max_growth: Times the first loss beyond which a loss is a spike, too.
            batch_size: Samples in a step, as a rule.
            num_players: How many take turns, each to be compared with its own steps.
            player: Tells whose a step is, by its number from 1 among those that stand.
        """
        self._batch_size, self._player = batch_size, player
        self._windows = [
            (
                _Window("loss", window, threshold, max_growth),
                # A gradient may begin at nothing, behind a layer of zeros.
                _Window("gradient", window, threshold, math.inf),
            )
            for _ in range(num_players)
        ]

    def jump(self, reading: Reading, samples: int, step: int) -> Jump | None:
        """Return what is out of line in a step; None where nothing is.

        Args:
            reading: What the guard saw of the step; finite.
            samples: How many it has.
            step: Its number, from 1, among those that stand.
        """
        loss, norm = self._windows[self._player(step)]
        if reading.loss <= loss.limit and reading.norm <= norm.limit:
            return None
        share = samples / self._batch_size
        return loss.jump(reading.loss, share) or norm.jump(reading.norm, share)

    def add(self, reading: Reading, step: int) -> None:
        """Take a step that stands among those that others are compared with."""
        loss, norm = self._windows[self._player(step)]
        loss.add(reading.loss)
        norm.add(reading.norm)

    def tensors(self) -> Mapping[str, Tensor]:
        """Return none; see `Stateful`."""
        return {}

    def values(self) -> dict[str, Any]:
        """Return the windows; see `Stateful`."""
        return {"windows": [[loss.values(), norm.values()] for loss, norm in self._windows]}

    def restore(self, tensors: Mapping[str, Tensor], values: Values) -> None:
        """Take them back; see `Stateful`."""
        for windows, stored in zip(self._windows, values["windows"], strict=True):
            for window, one in zip(windows, stored, strict=True):
                window.restore(one)


def _median(ordered: Sequence[float]) -> float:
    # Of numbers in order, many times quicker than the standard library's.
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def _size(values: Sequence[float]) -> float:
    """Return the size that values of a window have, but for a few of them."""
    sizes = sorted(map(abs, values))
    return sizes[int(_SIZE_QUANTILE * (len(sizes) - 1))]
