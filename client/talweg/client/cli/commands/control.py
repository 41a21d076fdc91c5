"""`talweg watch`, `talweg cancel` and `talweg retry`."""

from collections.abc import Callable, Sequence

import click

from talweg.client import Client, InvalidRequest, Job, JobState, Sweep, TalwegError, TrialState
from talweg.client._links import MAX_LINKED_RUNS
from talweg.client.cli import _problems
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
from talweg.client.cli._selection import names_of_open, select_targets, targets_or_filter
from talweg.client.cli._targets import Target, find_target, target_json
from talweg.client.cli.commands.sweeps.watching import (
    DETACHED,
    follow_sweeps,
    print_sweep_events,
    tell_detached,
)
from talweg.client.cli.completions import complete_targets
from talweg.spec.times import seconds_in


def _seconds(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> float | None:
    """Read a duration: ``30``, ``30s``, ``5min`` or ``1h``."""
    if value is None:
        return None
    seconds = seconds_in(value, unit="s")
    if seconds is None:
        raise click.BadParameter(
            f"a duration must look like 30, 30s, 5min or 1h, but got {value!r}",
            context,
            parameter,
        )
    return seconds


@click.command()
@targets_or_filter
@json_option
@click.pass_obj
def watch(
    session: Session,
    targets: Sequence[str],
    filter: str,
    states: Sequence[str],
    experiment: str | None,
    as_json: bool,
) -> int:
    """Follow jobs and sweeps until they end; of a sweep print the answer.

    The exit status is 0 if all succeeded, otherwise 1. Ctrl-C stops watching; jobs and sweeps go
    on. --json prints one line per event.
    """
    with session.client() as client:
        watched = select_targets(
            client, targets, filter=filter, states=states, experiment=experiment
        )
        jobs = [target for target in watched if isinstance(target, Job)]
        sweeps = [target for target in watched if isinstance(target, Sweep)]
        status = 0
        if jobs:
            status = (
                _print_events(client, jobs)
                if as_json
                else follow_or_detach(client, jobs, all_logs=True)
            )
        if sweeps and status != DETACHED:
            of_sweeps = print_sweep_events(sweeps) if as_json else follow_sweeps(client, sweeps)
            status = max(status, of_sweeps)
        return status


@click.command()
@targets_or_filter
@click.option("--reason", default="", help="The reason, for the record.")
@click.option(
    "--grace",
    callback=_seconds,
    metavar="DURATION",
    help="How long the worker of a job may take for an orderly stop. Default: 30s.",
)
@click.option("--force", is_flag=True, help="Stop the jobs at once.")
@json_option
@click.pass_obj
def cancel(
    session: Session,
    targets: Sequence[str],
    filter: str,
    states: Sequence[str],
    experiment: str | None,
    reason: str,
    grace: float | None,
    force: bool,
    as_json: bool,
) -> int:
    """Cancel jobs and sweeps: those that are named, or the open jobs that meet a condition."""

    def act(target: Target) -> Target:
        if isinstance(target, Job):
            return target.cancel(reason, grace=grace, force=force)
        if grace is not None or force:
            raise InvalidRequest("--grace and --force are for jobs, but this is a sweep")
        return target.cancel(reason)

    def tell(target: Target) -> str:
        ended = target.state == JobState.CANCELLED
        return f"{target.id} is CANCELLED" if ended else f"{target.id} is being cancelled"

    with session.client() as client:
        names = names_of_open(client, targets, filter=filter, states=states, experiment=experiment)
        return for_each(client, names, act, tell, as_json=as_json)


@click.command()
@click.argument(
    "targets", nargs=-1, required=True, metavar="JOB|SWEEP...", shell_complete=complete_targets
)
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice([TrialState.FAILED, TrialState.DIVERGED, TrialState.CANCELLED], False),
    help="Of a sweep, the trials in this state. Repeatable. Default: failed and cancelled.",
)
@json_option
@click.pass_obj
def retry(
    session: Session, targets: Sequence[str], states: Sequence[TrialState], as_json: bool
) -> int:
    """Submit ended jobs, or trials of a sweep, again, as new jobs with the same specs."""
    num_jobs: dict[str, int] = {}

    def act(target: Target) -> Target:
        if isinstance(target, Job):
            return target.retry()
        num_jobs[target.name] = target.retry(states) if states else target.retry()
        return target

    def tell(target: Target) -> str:
        if isinstance(target, Job):
            return f"{target.id} repeats {target.message.retry_of.removeprefix('jobs/')}"
        count = num_jobs[target.name]
        return f"{target.id}: {count} job{'s' * (count != 1)} submitted again"

    with session.client() as client:
        return for_each(client, targets, act, tell, as_json=as_json)


def follow_or_detach(
    client: Client, jobs: Sequence[Job], *, all_logs: bool = False, stderr: bool = False
) -> int:
    """Follow jobs and return the exit status; Ctrl-C prints how to reattach.

    Args:
        client: The client that the jobs came from.
        jobs: The jobs.
        all_logs: Show all log lines, not only warnings and errors.
        stderr: Print to standard error, since standard output has JSON.
    """
    from talweg.client.cli.progress.follow import follow

    try:
        succeeded = follow(client, jobs, console=console(stderr=stderr), all_logs=all_logs)
    except KeyboardInterrupt:
        tell_detached(jobs)
        return DETACHED
    _print_link(client, jobs, stderr=stderr)
    return 0 if succeeded else _problems.JOB_NOT_SUCCEEDED


def _print_link(client: Client, jobs: Sequence[Job], *, stderr: bool) -> None:
    """Print where the results are in MLflow, last, so that it stays in sight."""
    if len(jobs) > MAX_LINKED_RUNS:
        return
    try:
        tracked = [job.refresh() for job in jobs]
        url = runs_url(client, tracked)
    except TalwegError:
        # The jobs have ended, which is what the exit status says.
        return
    if url:
        say(f"MLflow: {link_shown(url, err=stderr)}", err=stderr)
    elif len(tracked) == 1 and not tracked[0].message.tracking.run_id:
        note(
            f"the results are on their way to MLflow; open them with: talweg open {tracked[0].id}"
        )


def _print_events(client: Client, jobs: Sequence[Job]) -> int:
    from talweg.client._watchers import Watchers
    from talweg.spec import to_dict

    succeeded = True
    try:
        with Watchers(jobs) as watchers:
            for event in watchers.events():
                if event.event is None:
                    continue
                line = {"job": event.job.name, **to_dict(event.event)}
                print_json(line, indent=None)
                if event.event.HasField("finished"):
                    state = JobState.of(event.event.finished.state)
                    succeeded &= state is JobState.SUCCEEDED
    except KeyboardInterrupt:
        tell_detached(jobs)
        return DETACHED
    return 0 if succeeded else _problems.JOB_NOT_SUCCEEDED


def for_each(
    client: Client,
    names: Sequence[str],
    act: Callable[[Target], Target],
    tell: Callable[[Target], str],
    *,
    as_json: bool,
) -> int:
    """Do something with each job or sweep; a refused one does not stop the others."""
    status = 0
    done: list[Target] = []
    for name in names:
        try:
            done.append(act(find_target(client, name)))
        except TalwegError as error:
            _problems.tell(error, about=name)
            status = max(status, _problems.status_of(error))
        else:
            if not as_json:
                say(tell(done[-1]))
    if as_json:
        print_json([target_json(target) for target in done])
    return status
