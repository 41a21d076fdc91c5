"""Jobs that a command is to work on: named, or selected by a condition."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from talweg.client import Client, Job, JobState, NotFound
from talweg.client.cli._common import quoted
from talweg.client.cli._targets import Target, find_jobs, find_target
from talweg.client.cli.completions import complete_experiments, complete_jobs, complete_targets

F = TypeVar("F", bound=Callable[..., Any])


def joined_filter(filter: str, states: Sequence[str], experiment: str | None) -> str:
    """Combine conditions into one filter."""
    conditions = [filter] if filter else []
    if states:
        any_of = " OR ".join(f"state = {state}" for state in states)
        conditions.append(f"({any_of})" if len(states) > 1 else any_of)
    if experiment:
        conditions.append(f"experiment = {quoted(experiment)}")
    return " AND ".join(conditions)


def filter_options(command: F) -> F:
    """Add ``--filter``, ``--state`` and ``--experiment``."""
    for option in reversed(
        (
            click.option(
                "--filter",
                default="",
                help='A condition, such as: loss = "huber" AND metrics.test/mae < 50',
            ),
            click.option(
                "--state",
                "states",
                multiple=True,
                type=click.Choice(list(JobState), case_sensitive=False),
                help="Only jobs in this state. Repeatable.",
            ),
            click.option(
                "--experiment",
                help="Only jobs of this experiment.",
                shell_complete=complete_experiments,
            ),
        )
    ):
        command = option(command)
    return command


def jobs_or_filter(command: F) -> F:
    """Add the argument ``JOB...`` and the options that select jobs in its place."""
    command = filter_options(command)
    return click.argument("jobs", nargs=-1, metavar="[JOB]...", shell_complete=complete_jobs)(
        command
    )


def targets_or_filter(command: F) -> F:
    """Add the argument ``JOB|SWEEP...`` and the options that select jobs in its place."""
    command = filter_options(command)
    return click.argument(
        "targets", nargs=-1, metavar="[JOB|SWEEP]...", shell_complete=complete_targets
    )(command)


def select_targets(
    client: Client,
    names: Sequence[str],
    *,
    filter: str,
    states: Sequence[str],
    experiment: str | None,
) -> list[Target]:
    """Return the jobs and sweeps that are named, or the jobs that meet the conditions.

    Args:
        client: To ask by.
        names: Ids, names or prefixes.
        filter: As for `talweg jobs`.
        states: As there.
        experiment: As there.

    Raises:
        click.UsageError: Some are named and selected, or neither.
        NotFound: There are none.
    """
    condition = _only_one(names, joined_filter(filter, states, experiment))
    if condition:
        return list(_meeting(client, condition))
    return [find_target(client, name) for name in names]


def select_jobs(
    client: Client,
    names: Sequence[str],
    *,
    filter: str,
    states: Sequence[str],
    experiment: str | None,
) -> list[Job]:
    """Return the jobs that are named, or those that meet the conditions, the oldest first.

    Args:
        client: To ask by.
        names: Ids, names or prefixes.
        filter: As for `talweg jobs`.
        states: As there.
        experiment: As there.

    Raises:
        click.UsageError: Jobs are named and selected, or neither.
        NotFound: There are none.
    """
    condition = _only_one(names, joined_filter(filter, states, experiment))
    return _meeting(client, condition) if condition else find_jobs(client, names)


def names_of_open(
    client: Client,
    names: Sequence[str],
    *,
    filter: str,
    states: Sequence[str],
    experiment: str | None,
    state: JobState | None = None,
) -> Sequence[str]:
    """Return names as they are, or those of the jobs that meet conditions and have not ended.

    Args:
        client: To ask by.
        names: Ids, names or prefixes.
        filter: As for `talweg jobs`.
        states: As there.
        experiment: As there.
        state: Of those that meet the conditions, only the jobs in this state.

    Raises:
        click.UsageError: Jobs are named and selected, or neither.
        NotFound: There are none.
    """
    condition = _only_one(names, joined_filter(filter, states, experiment))
    if not condition:
        return names
    selected = _meeting(client, condition)
    chosen = [
        job.name for job in selected if (job.state is state if state else not job.state.is_final)
    ]
    if not chosen:
        lacks = f"is {state}" if state else "is still open"
        raise NotFound(f"none of the {len(selected)} jobs where {condition} {lacks}")
    return chosen


def _only_one(names: Sequence[str], condition: str) -> str:
    if bool(names) == bool(condition):
        raise click.UsageError("name jobs, or select them by --filter, --state or --experiment")
    return condition


def _meeting(client: Client, condition: str) -> list[Job]:
    selected = list(client.jobs(filter=condition, order_by="create_time"))
    if not selected:
        raise NotFound(f"no jobs where {condition}")
    return selected
