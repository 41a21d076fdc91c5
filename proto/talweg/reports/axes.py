"""Scales of figures: from values to pixels, with round ticks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

_STEPS = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True)
class Axis:
    """A scale from values to pixels."""

    low: float
    """The value at `start`."""
    high: float
    """The value at `end`."""
    start: float
    """A pixel."""
    end: float
    """A pixel."""
    is_log: bool = False
    """Logarithmic."""

    def __call__(self, value: float) -> float:
        """Return the pixel of a value, within the figure."""
        low, high, at = self.low, self.high, value
        if self.is_log:
            low, high, at = math.log(low), math.log(high), math.log(max(value, self.low))
        share = (at - low) / (high - low) if high > low else 0.5
        return self.start + min(max(share, -0.02), 1.02) * (self.end - self.start)

    def ticks(self, most: int = 6) -> list[float]:
        """Return round values on the axis, rising."""
        if self.is_log:
            first, last = math.ceil(math.log10(self.low)), math.floor(math.log10(self.high))
            powers = [10.0**power for power in range(first, last + 1)]
            if len(powers) >= 2:
                return powers[:: math.ceil(len(powers) / most)]
            steps = [
                each * 10.0**power for power in range(first - 1, last + 1) for each in (1, 2, 5)
            ]
            return [each for each in steps if self.low <= each <= self.high]
        span = self.high - self.low
        if span <= 0:
            return [self.low]
        size = 10.0 ** math.floor(math.log10(span / most))
        step = next(each * size for each in _STEPS if span / (each * size) <= most)
        first = math.ceil(self.low / step)
        return [each * step for each in range(first, math.floor(self.high / step + 1e-9) + 1)]


def span(values: Sequence[float], margin: float = 0.05) -> tuple[float, float]:
    """Return the ends of an axis on which all finite values stand, with a margin."""
    finite = [value for value in values if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=1.0)
    room = (high - low) * margin or abs(high) * margin or 1.0
    return low - room, high + room


def tick_text(value: float) -> str:
    """Write the value of a tick."""
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1e5:
        return f"{value:,.4g}"
    mantissa, exponent = f"{value:.0e}".split("e")
    return f"{mantissa}e{int(exponent)}"
