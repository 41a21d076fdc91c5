"""`talweg jobs`."""

from collections.abc import Sequence

import click

from talweg.client import JobState
from talweg.client.cli._common import (
    Session,
    ago,
    console,
    job_json,
    json_option,
    note,
    print_json,
    quoted,
    state_text,
)
from talweg.client.cli.completions import complete_experiments


def joined_filter(filter: str, states: Sequence[str], experiment: str | None) -> str:
    """Combine conditions into one filter."""
    conditions = [filter] if filter else []
    if states:
        any_of = " OR ".join(f"state = {state}" for state in states)
        conditions.append(f"({any_of})" if len(states) > 1 else any_of)
    if experiment:
        conditions.append(f"experiment = {quoted(experiment)}")
    return " AND ".join(conditions)


@click.command()
@click.option(
    "--filter", default="", help='A condition, such as: loss = "huber" AND tags.team = "blue"'
)
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice(list(JobState), case_sensitive=False),
    help="Only jobs in this state. Repeatable.",
)
@click.option(
    "--experiment", help="Only jobs of this experiment.", shell_complete=complete_experiments
)
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
    from rich.table import Table
    from rich.text import Text

    from talweg.spec import display_name, label

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("ID", "STATE", "LOSS", "NAME", "EXPERIMENT", "PROGRESS", "SUBMITTED"):
        table.add_column(column, no_wrap=column in ("ID", "STATE"), overflow="ellipsis")
    for job in shown:
        message = job.message
        table.add_row(
            job.id,
            state_text(job.state),
            Text(label(message.spec.loss)),
            Text(display_name(message.spec)),
            Text(message.spec.experiment),
            _progress(job.state, message.progress.step, message.progress.total_steps),
            ago(message.create_time),
        )
    console().print(table)
    if len(listed) > limit:
        note(f"there are more jobs; use --limit {limit * 10} to see them")


def _progress(state: JobState, step: int, total_steps: int) -> str:
    if state is JobState.SUCCEEDED or not total_steps:
        return ""
    return f"{100 * step // total_steps}%"
