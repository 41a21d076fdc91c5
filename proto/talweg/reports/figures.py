"""Figures of a report, drawn as SVG. Colours are those of the page, light or dark."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from statistics import fmean, stdev

from talweg.reports.axes import Axis, span, tick_text
from talweg.reports.contents import Curve
from talweg.reports.importance import Importance

WIDTH = 640
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 12, 44
_ROW = 30
_NUM_COLOURS = 8
# A band is of this many points, however many evaluations there are.
_NUM_POINTS = 200
# Student's t for a two-sided 95% interval, by degrees of freedom.
_T = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23)

Dot = tuple[float, float, bool]
"""Place, value, and whether the trial was stopped early."""
Palette = Mapping[str, str]
"""The class of each label's colour, the same in all figures."""


def palette(labels: Sequence[str]) -> Palette:
    """Give each label its colour."""
    return {
        label: f"c{index % _NUM_COLOURS}{' again' * (index >= _NUM_COLOURS)}"
        for index, label in enumerate(labels)
    }


def convergence(
    curves: Mapping[str, Sequence[Curve]],
    metric: str,
    colours: Palette,
    *,
    by_time: bool,
    height: int = 320,
) -> str:
    """Draw the mean of the evaluations over seeds, with a 95% band of the mean.

    Args:
        curves: One a seed, by label.
        metric: What is drawn.
        colours: Of the labels.
        by_time: Over seconds since the start instead of steps.
        height: In pixels.
    """
    lines = {label: _mean_curve(each, by_time=by_time) for label, each in curves.items()}
    lines = {label: line for label, line in lines.items() if len(line) > 1}
    if not lines:
        return ""
    points = [point for line in lines.values() for point in line]
    x = Axis(0, max(point[0] for point in points), _LEFT, WIDTH - _RIGHT)
    # What the first evaluations reach would press all later ones together.
    tails = [point for line in lines.values() for point in line[len(line) // 10 :]]
    low, high = span([end for _, mean, half in tails for end in (mean - half, mean + half)])
    y = Axis(low, high, height - _BOTTOM, _TOP)
    parts = [_frame(x, y, height, "seconds" if by_time else "steps", metric)]
    for label, line in lines.items():
        upper = [f"{x(at):.1f},{y(mean + half):.1f}" for at, mean, half in line]
        lower = [f"{x(at):.1f},{y(mean - half):.1f}" for at, mean, half in reversed(line)]
        parts.append(
            f'<polygon class="band {colours[label]}" points="{" ".join(upper + lower)}"/>'
        )
    for label, line in lines.items():
        path = " ".join(f"{x(at):.1f},{y(mean):.1f}" for at, mean, _ in line)
        parts.append(f'<polyline class="line {colours[label]}" points="{path}"/>')
    what = "time" if by_time else "steps"
    return _svg(parts, height, f"{metric} over {what}, mean and 95% band over seeds") + legend(
        list(lines), colours
    )


def _mean_curve(curves: Sequence[Curve], *, by_time: bool) -> list[tuple[float, float, float]]:
    """Return points of the mean of curves and half the width of its interval."""
    usable = [curve for curve in curves if curve.values]
    if not usable:
        return []
    places = [list(curve.seconds if by_time else curve.steps) for curve in usable]
    # As far as the shortest goes: beyond, the mean would be of other seeds.
    begin, end = max(each[0] for each in places), min(each[-1] for each in places)
    if not end > begin:
        return []
    points = []
    for number in range(_NUM_POINTS + 1):
        at = begin + (end - begin) * number / _NUM_POINTS
        values = [
            _at(place, curve.values, at) for place, curve in zip(places, usable, strict=True)
        ]
        half = 0.0
        if len(values) > 1:
            half = student_t(len(values) - 1) * stdev(values) / math.sqrt(len(values))
        points.append((at, fmean(values), half))
    return points


def student_t(freedom: int) -> float:
    """Return Student's t for a two-sided 95% interval, to two digits after the point.

    Args:
        freedom: The degrees of freedom, from 1.
    """
    if freedom <= len(_T):
        return _T[freedom - 1]
    z = 1.96
    # Abramowitz and Stegun 26.7.5.
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    return z + first / freedom + second / freedom**2


def _at(places: Sequence[float], values: Sequence[float], at: float) -> float:
    """Return the value at a place, between the evaluations around it."""
    for index in range(1, len(places)):
        if places[index] >= at:
            width = places[index] - places[index - 1]
            share = (at - places[index - 1]) / width if width else 1.0
            return values[index - 1] + share * (values[index] - values[index - 1])
    return values[-1]


def differences(
    rows: Sequence[tuple[str, float, float, float]],
    margin: float | None,
    unit: str,
    *,
    is_high: bool,
) -> str:
    """Draw differences to the baseline with their intervals.

    Args:
        rows: Label, mean, and both ends of the interval.
        margin: The largest difference that does not matter; None without one.
        unit: The metric.
        is_high: High values of the metric are better.
    """
    height = _TOP + _ROW * len(rows) + _BOTTOM
    left = 170
    ends = [end for _, mean, low, high in rows for end in (mean, low, high)]
    ends += [0.0] if margin is None else [-margin, margin]
    x = Axis(*span(ends), left, WIDTH - _RIGHT)
    bottom = height - _BOTTOM
    parts = []
    if margin is not None:
        width = x(margin) - x(-margin)
        parts.append(
            f'<rect class="margin" x="{x(-margin):.1f}" y="{_TOP}" width="{width:.1f}" '
            f'height="{bottom - _TOP}"/>'
        )
    parts.append(_vertical(x(0), bottom, "zero"))
    for tick in x.ticks():
        parts.append(_text(x(tick), bottom + 18, tick_text(tick), "tick", "middle"))
    name = f"difference in {unit}; better {'right' if is_high else 'left'} of 0"
    parts.append(_text((left + WIDTH) / 2, height - 6, name, "name", "middle"))
    for index, (label, mean, low, high) in enumerate(rows):
        y = _TOP + _ROW * (index + 0.5)
        parts.append(_text(left - 12, y + 4, _short(label, 22), "label", "end"))
        parts.append(
            f'<line class="interval" x1="{x(low):.1f}" x2="{x(high):.1f}" y1="{y}" y2="{y}"/>'
        )
        parts.append(f'<circle class="mean" cx="{x(mean):.1f}" cy="{y}" r="5"/>')
    return _svg(parts, height, f"differences in {unit} to the baseline with 95% intervals")


def bars(shares: Sequence[Importance]) -> str:
    """Draw shares of variance."""
    height = _TOP + _ROW * len(shares) + _BOTTOM
    left = 220
    x = Axis(0, 1, left, WIDTH - _RIGHT - 40)
    bottom = height - _BOTTOM
    parts = [
        _text(x(tick), bottom + 18, f"{tick:.0%}", "tick", "middle")
        for tick in (0, 0.25, 0.5, 0.75, 1)
    ]
    for index, each in enumerate(shares):
        y = _TOP + _ROW * index
        parts.append(_text(left - 12, y + 19, _short(each.label, 30), "label", "end"))
        width = max(x(each.share) - left, 1)
        parts.append(
            f'<rect class="bar" x="{left}" y="{y + 6}" width="{width:.1f}" height="{_ROW - 12}"/>'
        )
        parts.append(_text(left + width + 6, y + 19, f"{each.share:.0%}", "tick", "start"))
    return _svg(parts, height, "share of the variance between trials that each path explains")


def scatter(
    groups: Mapping[str, Sequence[Dot]],
    name: str,
    metric: str,
    colours: Palette,
    *,
    height: int = 260,
) -> str:
    """Draw the objective of trials over a number that they differ in, by compared value.

    Those that were stopped early are hollow.
    """
    points = [point for group in groups.values() for point in group]
    places = [place for place, _, _ in points]
    is_log = min(places) > 0 and max(places) / min(places) > 20
    if is_log:
        x = Axis(min(places) / 1.2, max(places) * 1.2, _LEFT, WIDTH - _RIGHT, is_log=True)
    else:
        x = Axis(*span(places), _LEFT, WIDTH - _RIGHT)
    values = [value for _, value, _ in points]
    if min(values) > 0 and max(values) / min(values) > 5:
        y = Axis(min(values) / 1.1, max(values) * 1.1, height - _BOTTOM, _TOP, is_log=True)
    else:
        y = Axis(*span(values), height - _BOTTOM, _TOP)
    parts = [_frame(x, y, height, name, metric)]
    for label, group in groups.items():
        parts += [
            f'<circle class="dot {colours[label]}{" hollow" * is_pruned}" '
            f'cx="{x(place):.1f}" cy="{y(value):.1f}" r="4"/>'
            for place, value, is_pruned in group
        ]
    drawn = _svg(parts, height, f"{metric} of each trial over {name}")
    return drawn + (legend(list(groups), colours) if len(groups) > 1 else "")


def legend(labels: Sequence[str], colours: Palette) -> str:
    """Name the colours of a figure."""
    items = "".join(
        f'<li><i class="{colours[label]}"></i>{escape(label)}</li>' for label in labels
    )
    return f'<ul class="legend">{items}</ul>'


def _frame(x: Axis, y: Axis, height: int, x_name: str, y_name: str) -> str:
    bottom = height - _BOTTOM
    parts = []
    for tick in y.ticks():
        at = y(tick)
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'
        )
        parts.append(_text(_LEFT - 8, at + 4, tick_text(tick), "tick", "end"))
    for tick in x.ticks():
        parts.append(_text(x(tick), bottom + 18, tick_text(tick), "tick", "middle"))
    parts.append(_text((_LEFT + WIDTH) / 2, height - 6, x_name, "name", "middle"))
    middle = (bottom + _TOP) / 2
    parts.append(
        f'<text class="name" text-anchor="middle" transform="translate(14 {middle}) rotate(-90)">'
        f"{escape(y_name)}</text>"
    )
    return "".join(parts)


def _vertical(x: float, bottom: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{bottom}"/>'


def _text(x: float, y: float, text: str, kind: str, anchor: str) -> str:
    place = f'text-anchor="{anchor}" x="{x:.1f}" y="{y:.1f}"'
    return f'<text class="{kind}" {place}>{escape(text)}</text>'


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _svg(parts: Sequence[str], height: int, title: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img"><title>{escape(title)}</title>'
        f"{''.join(parts)}</svg>"
    )
