"""What notebooks show of jobs and comparisons: tables, and curves as SVG without any script.

All texts come from elsewhere, and are escaped.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from talweg.spec import display_name, drop_control

if TYPE_CHECKING:
    from talweg.v1.jobs_pb2 import Job

Series = Sequence[tuple[int, float]]
"""Points of a metric as (step, value)."""

_WIDTH, _HEIGHT, _MARGIN = 420, 150, 8
_COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#8c564b", "#e377c2")
# More would be smaller than a pixel.
_MOST_POINTS = 800


def text(content: object) -> str:
    """Return a text from anywhere as HTML that shows it as it is."""
    return escape(drop_control(str(content)))


def table(header: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """Return a table; all cells are escaped."""
    head = "".join(f"<th>{text(cell)}</th>" for cell in header)
    body = "".join(f"<tr>{''.join(f'<td>{text(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def link(url: str, name: str) -> str:
    """Return a link to a page; only a name where the address is of no page."""
    if not url.startswith(("http://", "https://")):
        return text(name)
    return f'<a href="{text(url)}" target="_blank" rel="noopener">{text(name)}</a>'


def of_job(message: "Job", state: str, drawn: str) -> str:
    """Return what a notebook shows of a job.

    Args:
        message: The job.
        state: Its state.
        drawn: HTML of its curves; may be empty.
    """
    name = text(display_name(message.spec))
    id_ = text(message.name.removeprefix("jobs/"))
    lines = [f"<b>{name}</b> <code>{id_}</code> {text(state)}"]
    if message.HasField("result"):
        lines.append(f"{text(message.result.metric)} <b>{message.result.value:.5g}</b>")
    if message.HasField("outcome") and message.outcome.message:
        lines.append(text(message.outcome.message))
    if message.tracking.url:
        lines.append(link(message.tracking.url, "run in MLflow"))
    lines.append(drawn)
    return "".join(f"<div>{line}</div>" for line in lines if line)


def curves(series: Mapping[str, Series]) -> str:
    """Return curves of metrics over steps as SVG, with a legend; empty without points.

    Values far apart in size, all positive, are drawn by their logarithms.

    Args:
        series: Points by name.
    """
    finite = {
        name: [(step, value) for step, value in points if math.isfinite(value)]
        for name, points in series.items()
    }
    drawn = {name: points for name, points in finite.items() if len(points) > 1}
    values = [value for points in drawn.values() for _, value in points]
    if not values:
        return ""
    is_log = min(values) > 0 and max(values) > 100 * min(values)
    steps = [step for points in drawn.values() for step, _ in points]
    low, high = _scaled(min(values), is_log), _scaled(max(values), is_log)

    def place(step: int, value: float) -> str:
        x = _along(step, min(steps), max(steps), _WIDTH)
        y = _HEIGHT - _along(_scaled(value, is_log), low, high, _HEIGHT)
        return f"{x:.1f},{y:.1f}"

    lines, legend = [], []
    for index, (name, points) in enumerate(drawn.items()):
        colour = _COLOURS[index % len(_COLOURS)]
        apart = -(-len(points) // _MOST_POINTS)
        path = " ".join(place(step, value) for step, value in [*points[:-1:apart], points[-1]])
        lines.append(f'<polyline fill="none" stroke="{colour}" points="{path}"/>')
        last = f"{points[-1][1]:.5g}"
        legend.append(f'<span style="color:{colour}">{text(name)}</span> {last}')
    scale = f"{min(values):.4g} to {max(values):.4g}{', logarithmic' if is_log else ''}"
    reach = f"steps {min(steps)} to {max(steps)}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'width="{_WIDTH}" height="{_HEIGHT}" role="img">{"".join(lines)}</svg>'
        f"<div>{' · '.join(legend)}</div><div><small>{reach}; {scale}</small></div>"
    )


def _scaled(value: float, is_log: bool) -> float:
    return math.log10(value) if is_log else value


def _along(value: float, low: float, high: float, length: int) -> float:
    share = (value - low) / (high - low) if high > low else 0.5
    return _MARGIN + share * (length - 2 * _MARGIN)
