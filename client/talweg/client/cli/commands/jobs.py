"""`talweg jobs`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from talweg.client import Job, JobState
from talweg.client._lines import job_title, number
from talweg.client.cli._common import (
    STATE_STYLES,
    Session,
    ago,
    console,
    job_json,
    json_option,
    note,
    print_json,
)
from talweg.client.cli._selection import filter_options, joined_filter

if TYPE_CHECKING:
    from rich.table import Table


@click.command()
@filter_options
@click.option("--order-by", default="", help="Order, such as: priority desc, create_time")
@click.option("--limit", type=click.IntRange(min=1), default=30, show_default=True)
@json_option
@click.pass_obj
def jobs(
    session: Session,
    filter: str,
    states: Sequence[JobState],
    experiment: str | None,
    order_by: str,
    limit: int,
    as_json: bool,
) -> None:
    """List jobs, the newest first."""
    condition = joined_filter(filter, states, experiment)
    with session.client() as client:
        # One more than is shown, to know whether there are more.
        listed = list(client.jobs(filter=condition, order_by=order_by, limit=limit + 1))
    shown = listed[:limit]
    if as_json:
        print_json([job_json(job) for job in shown])
        return
    if not shown:
        note("no jobs" if not condition else f"no jobs where {condition}")
        return
    out = console()
    out.print(_table(shown, out.width))
    for reason, ids in _waiting(shown).items():
        who = ids[0] if len(ids) == 1 else f"{len(ids)} jobs"
        note(f"waiting: {who}: {reason}")
    if len(listed) > limit:
        note(f"there are more jobs; use --limit {limit * 10} to see them")


def _table(shown: Sequence[Job], width: int) -> "Table":
    from rich.text import Text

    from talweg.client.cli.tables import Column, fitted
    from talweg.spec import label

    rows = [
        (
            Text(job.id),
            Text(_state(job), style=STATE_STYLES[job.state]),
            Text(result_text(job)),
            Text(job_title(job.message.spec)),
            Text(ago(job.message.create_time)),
            Text(job.message.spec.experiment),
            Text(label(job.message.spec.loss)),
        )
        for job in shown
    ]
    columns = (
        Column("ID"),
        Column("STATE"),
        Column("RESULT", min_width=16, max_width=30),
        Column("NAME", min_width=20),
        Column("SUBMITTED"),
        Column("EXPERIMENT", min_width=14, max_width=30, optional=True),
        Column("LOSS", min_width=20, max_width=60, optional=True),
    )
    return fitted(columns, rows, width)


def result_text(job: Job) -> str:
    """Format the main metric of a job; the number first, which must not be cut off."""
    if not job.message.HasField("result"):
        return ""
    result = job.message.result
    return f"{number(result.value)} {result.metric}"


def _state(job: Job) -> str:
    progress = job.message.progress
    if job.state is not JobState.RUNNING or not progress.total_steps:
        return job.state
    return f"{job.state} {100 * progress.step // progress.total_steps}%"


def _waiting(shown: Sequence[Job]) -> dict[str, list[str]]:
    """Gather why jobs wait; that others go first needs no word."""
    reasons: dict[str, list[str]] = {}
    for job in shown:
        reason = job.message.waiting_reason
        if reason and not reason.startswith("queued behind "):
            reasons.setdefault(reason, []).append(job.id)
    return reasons
