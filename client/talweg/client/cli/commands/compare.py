"""`talweg compare`."""

import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from talweg.client import Client, Comparison, Job
from talweg.client._lines import duration
from talweg.client.cli._common import (
    Session,
    console,
    json_option,
    note,
    print_json,
    runs_url,
    say,
)
from talweg.client.cli._pages import link_shown
from talweg.client.cli._selection import joined_filter
from talweg.client.cli._targets import find_jobs
from talweg.client.cli.completions import complete_experiments, complete_jobs
from talweg.client.comparisons._answer import question

if TYPE_CHECKING:
    from rich.console import Console

_POLL_SECONDS = 1.0


@click.command()
@click.argument("jobs", nargs=-1, metavar="[JOB]...", shell_complete=complete_jobs)
@click.option("--filter", default="", help="Compare the jobs that match, as in `talweg jobs`.")
@click.option(
    "--experiment",
    help="Compare the jobs of this experiment.",
    shell_complete=complete_experiments,
)
@click.option(
    "--metric", help="The metric, such as val/mae. Default: the first test metric of the task."
)
@click.option(
    "--by",
    "group_by",
    multiple=True,
    metavar="FIELD",
    help="Group by a field, such as optimizer.adamw.learning_rate. Default: loss. Repeatable.",
)
@click.option(
    "--baseline",
    metavar="GROUP",
    help="Compare each group with this one, such as mse: a verdict, interval and p for each.",
)
@click.option(
    "--margin",
    metavar="MARGIN",
    help="A difference that does not matter: 1% of the baseline's mean, or a number.",
)
@click.option("--statistics", is_flag=True, help="Show an interval of each group's mean.")
@click.option(
    "--link", is_flag=True, help="Wait until the runs are in MLflow, and print a link to them."
)
@click.option(
    "--link-timeout",
    type=float,
    default=120.0,
    show_default=True,
    metavar="SECONDS",
    help="How long --link waits.",
)
@json_option
@click.pass_obj
def compare(
    session: Session,
    jobs: Sequence[str],
    filter: str,
    experiment: str | None,
    metric: str | None,
    group_by: Sequence[str],
    baseline: str | None,
    margin: str | None,
    statistics: bool,
    link: bool,
    link_timeout: float,
    as_json: bool,
) -> None:
    """Compare jobs by a metric: mean, sample sd and median of each group, the best first.

    Only jobs that SUCCEEDED count. Notes give the number of the others, the values that stand out,
    and whether the jobs of a group differ in more than the seed.

    With --baseline, each other group is found to be better, worse, equivalent within --margin, or
    not distinguishable, over the seeds that both have. docs/comparison.md explains how.

    Name the jobs, or select them by --filter or --experiment.
    """
    condition = joined_filter(filter, (), experiment)
    if bool(jobs) == bool(condition):
        raise click.UsageError("name the jobs, or select them by --filter or --experiment")
    by = tuple(group_by) or ("loss",)
    asked: dict[str, Any] = {"statistics": statistics, "baseline": baseline, "margin": margin}
    _check(baseline, margin)
    with session.client() as client:
        if jobs:
            found = find_jobs(client, jobs)
            comparison = client.compare(found, metric=metric, group_by=by, **asked)
        else:
            comparison = client.compare(filter=condition, metric=metric, group_by=by, **asked)
        if not as_json:
            print_comparison(comparison, console())
        names = [row.job for group in comparison.groups for row in group.rows]
        compared = _find_again(client, names, condition)
        if link:
            compared = _wait_for_runs(client, compared, names, condition, link_timeout)
        url = runs_url(client, compared, metric=metric)
    if as_json:
        print_json(_json(comparison, url or None))
        return
    if url:
        say(f"MLflow: {link_shown(url)}")
    elif _missing(compared):
        note("MLflow: some runs have not arrived yet; --link waits for them")


def _check(baseline: str | None, margin: str | None) -> None:
    """Refuse a margin that is none before anything is asked."""
    try:
        question(baseline, margin)
    except ValueError as exc:
        raise click.UsageError(str(exc)) from exc


def print_comparison(comparison: Comparison, out: "Console", *, verdicts: bool = True) -> None:
    """Print the verdicts and the table of a comparison, and its notes to standard error.

    Args:
        comparison: The comparison.
        out: Where to print.
        verdicts: Whether to print the verdicts.
    """
    from rich.table import Table
    from rich.text import Text

    if not comparison.groups:
        note("no jobs to compare")
        return
    header, *rows = comparison.table()
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for index, name in enumerate(header):
        is_label = index < len(comparison.group_by)
        table.add_column(name, justify="left" if is_label else "right", no_wrap=not is_label)
    for index, row in enumerate(rows):
        is_best = index == 0 and comparison.groups[0].mean is not None and len(rows) > 1
        table.add_row(*(Text(cell) for cell in row), style="green4" if is_best else "")
    out.print(Text(comparison.title, style="bold"))
    for verdict in comparison.verdicts if verdicts else ():
        out.print(Text(f"• {verdict}"))
    out.print(table)
    for text in comparison.notes:
        note(text)


def _json(comparison: Comparison, url: str | None) -> dict[str, Any]:
    return {**asdict(comparison), "url": url}


def _find_again(client: Client, names: Sequence[str], condition: str) -> list[Job]:
    """Return the compared jobs, whose messages name their runs."""
    if condition:
        wanted = set(names)
        return [job for job in client.jobs(filter=condition) if job.name in wanted]
    return [client.job(name) for name in names]


def _wait_for_runs(
    client: Client, jobs: list[Job], names: Sequence[str], condition: str, timeout: float
) -> list[Job]:
    deadline = time.monotonic() + timeout
    if _missing(jobs):
        note("waiting for all results to arrive in MLflow …")
    while missing := _missing(jobs):
        if time.monotonic() + _POLL_SECONDS > deadline:
            within = duration(timedelta(seconds=timeout))
            note(f"{len(missing)} of {len(jobs)} runs did not arrive in MLflow within {within}")
            break
        time.sleep(_POLL_SECONDS)
        jobs = _find_again(client, names, condition)
    return jobs


def _missing(jobs: Sequence[Job]) -> list[Job]:
    """Return the jobs whose runs have not arrived; a job that never started has no run."""
    return [job for job in jobs if job.message.attempt and not job.message.tracking.complete]
