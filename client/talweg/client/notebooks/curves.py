"""Curves of metrics over steps as SVG, without any script, for dark and light pages."""

import bisect
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from talweg.client.notebooks.html import text

T = TypeVar("T")
Series = Sequence[tuple[int, float]]
"""Points of a metric as (step, value)."""

# Each can be read on white and on black. The first are also told apart by the colour-blind.
COLOURS: Final = (
    "#2f7fd1", "#b0722a", "#2e8b57", "#d1495b", "#8f63c9", "#1f8f99", "#c0519a", "#7a7a7a",
)  # fmt: skip
_WIDTH, _HEIGHT = 560, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 10, 10, 22
# More would be smaller than a pixel.
_MOST_POINTS = 800
_NUM_TICKS = 5


@dataclass(frozen=True)
class Curve:
    """A line with an optional band around it."""

    name: str
    """For the legend."""
    points: Series
    """In the order of their steps."""
    band: Sequence[tuple[float, float]] = ()
    """The lower and upper end of the band at each point; empty without a band."""


def of_series(series: Mapping[str, Series]) -> str:
    """Return curves of metrics with a legend; empty without points.

    Args:
        series: Points by name.
    """
    return drawn([Curve(name, points) for name, points in series.items()])


def mean_curve(name: str, series: Sequence[Series]) -> Curve:
    """Return the mean of repeated runs by step, with a band of one sample sd on both sides.

    Runs are recorded at steps of their own: between its points each is taken as straight. The
    curve ends where the first run ends, since a mean over fewer runs would jump.

    Args:
        name: For the legend.
        series: The points of each run, in the order of their steps.
    """
    runs = [run for run in map(_finite, series) if run]
    if not runs:
        return Curve(name, ())
    first, last = max(run[0][0] for run in runs), min(run[-1][0] for run in runs)
    steps = sorted({step for run in runs for step, _ in run if first <= step <= last})
    if len(runs) == 1:
        return Curve(name, runs[0])
    points, band = [], []
    for step in _thinned(steps):
        values = [_value_at(run, step) for run in runs]
        mean, sd = statistics.fmean(values), statistics.stdev(values)
        points.append((step, mean))
        band.append((mean - sd, mean + sd))
    return Curve(name, points, band)


def drawn(curves: Sequence[Curve]) -> str:
    """Return curves with axes and a legend; empty where none has two points.

    Values far apart in size, all positive, are drawn by their logarithms.

    Args:
        curves: Their colours go by their order.
    """
    lines = [line for line in map(_drawable, curves) if len(line.points) > 1]
    if not lines:
        return ""
    values = [value for line in lines for _, value in line.points]
    ends = [end for line in lines for low_high in line.band for end in low_high]
    is_log = min(values) > 0 and max(values) > 100 * min(values)
    if is_log:
        # The lower end of a band may be below 0.
        ends = [end for end in ends if end > 0]
    steps = [step for line in lines for step, _ in line.points]
    axes = _Axes(min(steps), max(steps), min(values + ends), max(values + ends), is_log)
    shapes, legend = [axes.svg()], []
    for index, line in enumerate(lines):
        colour = COLOURS[index % len(COLOURS)]
        # Colours come again: dashes tell their second and third use apart.
        dash = index // len(COLOURS) * 4
        dashes = f' stroke-dasharray="{dash} 3"' if dash else ""
        if line.band:
            steps_of_line = [step for step, _ in line.points]
            upper = [
                (step, high) for step, (_, high) in zip(steps_of_line, line.band, strict=True)
            ]
            lower = [(step, low) for step, (low, _) in zip(steps_of_line, line.band, strict=True)]
            outline = axes.path([*upper, *reversed(lower)])
            shapes.append(
                f'<polygon fill="{colour}" fill-opacity="0.18" stroke="none" points="{outline}"/>'
            )
        shapes.append(
            f'<polyline fill="none" stroke="{colour}" stroke-width="1.6"{dashes} '
            f'points="{axes.path(line.points)}"/>'
        )
        last = f"{line.points[-1][1]:.5g}"
        legend.append(f'<span style="color:{colour}">━ {text(line.name)}</span> {last}')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'width="{_WIDTH}" height="{_HEIGHT}" role="img" style="max-width:100%;height:auto">'
        f"{''.join(shapes)}</svg><div>{' · '.join(legend)}</div>"
    )


@dataclass(frozen=True)
class _Axes:
    """The two axes: steps from left to right, values from the bottom to the top."""

    first: int
    last: int
    low: float
    high: float
    is_log: bool

    def x(self, step: float) -> float:
        share = (step - self.first) / (self.last - self.first) if self.last > self.first else 0.5
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        low, high = self._scaled(self.low), self._scaled(self.high)
        # The lower end of a band may be below what a logarithm can show.
        scaled = low if self.is_log and value <= 0 else self._scaled(value)
        share = (scaled - low) / (high - low) if high > low else 0.5
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)

    def path(self, points: Series) -> str:
        return " ".join(f"{self.x(step):.1f},{self.y(value):.1f}" for step, value in points)

    def svg(self) -> str:
        """Return grid lines and numbers, in the colour of the page's text."""
        style = 'fill="currentColor" font-family="sans-serif" font-size="11"'
        shapes = []
        for value in self._ticks():
            y = self.y(value)
            shapes.append(
                f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" '
                f'stroke="currentColor" stroke-opacity="0.2"/>'
                f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end" {style}>'
                f"{value:.4g}</text>"
            )
        bottom = f'y="{_HEIGHT - 5}" {style}'
        middle = (_LEFT + _WIDTH - _RIGHT) // 2
        scale = "step, values logarithmic" if self.is_log else "step"
        shapes.append(
            f'<text x="{_LEFT}" {bottom}>{self.first}</text>'
            f'<text x="{middle}" text-anchor="middle" {bottom}>{scale}</text>'
            f'<text x="{_WIDTH - _RIGHT}" text-anchor="end" {bottom}>{self.last}</text>'
        )
        return "".join(shapes)

    def _ticks(self) -> list[float]:
        """Return round values between the lowest and the highest; powers of ten by logarithms."""
        if self.is_log:
            exponents = range(
                math.ceil(math.log10(self.low)), math.floor(math.log10(self.high)) + 1
            )
            apart = max(1, -(-len(exponents) // _NUM_TICKS))
            return [10.0**exponent for exponent in exponents[::apart]]
        if self.high <= self.low:
            return [self.low]
        exact = (self.high - self.low) / _NUM_TICKS
        if not math.isfinite(exact):
            return []
        size = 10.0 ** math.floor(math.log10(exact))
        step = size * next(factor for factor in (1, 2, 5, 10) if size * factor >= exact)
        first, last = math.ceil(self.low / step), math.floor(self.high / step)
        return [number * step for number in range(first, last + 1)]

    def _scaled(self, value: float) -> float:
        return math.log10(value) if self.is_log else value


def _finite(points: Series) -> list[tuple[int, float]]:
    return [(step, value) for step, value in points if math.isfinite(value)]


def _thinned(points: Sequence[T]) -> Sequence[T]:
    """Return at most as many points as can be told apart, the last among them."""
    apart = -(-len(points) // _MOST_POINTS)
    return points if apart <= 1 else [*points[:-1:apart], points[-1]]


def _drawable(curve: Curve) -> Curve:
    if curve.band:
        return curve
    return Curve(curve.name, _thinned(_finite(curve.points)))


def _value_at(run: Series, step: int) -> float:
    """Return the value of a run at a step within it, straight between its points."""
    after = bisect.bisect_left(run, step, key=lambda point: point[0])
    right_step, right = run[after]
    if right_step == step:
        return right
    left_step, left = run[after - 1]
    return left + (right - left) * (step - left_step) / (right_step - left_step)
