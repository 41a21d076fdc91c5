"""What notebooks show of jobs and comparisons, as HTML.

All texts come from elsewhere, and are escaped.
"""

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from talweg.spec import display_name, drop_control

if TYPE_CHECKING:
    from talweg.client.sweeps._progress import SweepProgress
    from talweg.v1.jobs_pb2 import Job

_MOST_BEST = 20


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


def of_sweep(id_: str, progress: "SweepProgress") -> str:
    """Return what a notebook shows of a sweep: state, a bar, counts, and the best trials.

    Args:
        id_: Its id.
        progress: How far it is.
    """
    counts = " · ".join(part for part in (*progress.counts, progress.left_text) if part)
    lines = [
        f"<b>{text(progress.title)}</b> <code>{text(id_)}</code> {text(progress.state)}",
        f'<progress max="1" value="{progress.share:.3f}"></progress> {text(counts)}',
        text(progress.message.message),
        *map(text, progress.best_texts[:_MOST_BEST]),
    ]
    if progress.message.tracking.url:
        lines.append(link(progress.message.tracking.url, "summary in MLflow"))
    return "".join(f"<div>{line}</div>" for line in lines if line)
