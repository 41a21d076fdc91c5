"""`talweg watch`, `talweg cancel` and `talweg retry`."""

import re
from collections.abc import Callable, Sequence

import click

from talweg.client import Client, Job, JobState, TalwegError
from talweg.client._links import MAX_LINKED_RUNS
from talweg.client.cli import _problems
from talweg.client.cli._common import (
    Session,
    console,
    find_jobs,
    job_json,
    json_option,
    note,
    print_json,
    runs_url,
    say,
)
from talweg.client.cli._selection import jobs_or_filter, names_of_open, select_jobs
from talweg.client.cli.completions import complete_jobs

_UNITS = {"": 1.0, "s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0}
_DETACHED = 130


def _seconds(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> float | None:
    """Read a duration: ``30``, ``30s``, ``5min`` or ``1h``."""
    if value is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?(s|min|m|h|)", value)
    if match is None:
        raise click.BadParameter(
            f"a duration must look like 30, 30s, 5min or 1h, but got {value!r}",
            context,
            parameter,
        )
    return float(match[1]) * _UNITS[match[2]]


@click.command()
@jobs_or_filter
@json_option
@click.pass_obj
def watch(
    session: Session,
    jobs: Sequence[str],
    filter: str,
    states: Sequence[str],
    experiment: str | None,
    as_json: bool,
) -> int:
    """Follow jobs until they end.

    The exit status is 0 if all jobs succeeded, otherwise 1. Ctrl-C stops watching; the jobs go on.
    --json prints one line per event.
    """
    with session.client() as client:
        watched = select_jobs(client, jobs, filter=filter, states=states, experiment=experiment)
        if as_json:
            return _print_events(client, watched)
        return follow_or_detach(client, watched, all_logs=True)


@click.command()
@jobs_or_filter
@click.option("--reason", default="", help="The reason, for the record.")
@click.option(
    "--grace",
    callback=_seconds,
    metavar="DURATION",
    help="How long the worker may take for an orderly stop. Default: 30s.",
)
@click.option("--force", is_flag=True, help="Stop the jobs at once.")
@json_option
@click.pass_obj
def cancel(
    session: Session,
    jobs: Sequence[str],
    filter: str,
    states: Sequence[str],
    experiment: str | None,
    reason: str,
    grace: float | None,
    force: bool,
    as_json: bool,
) -> int:
    """Cancel jobs: those that are named, or those still open that meet a condition."""

    def act(job: Job) -> Job:
        return job.cancel(reason, grace=grace, force=force)

    def tell(job: Job) -> str:
        ended = job.state is JobState.CANCELLED
        return f"{job.id} is CANCELLED" if ended else f"{job.id} is being cancelled"

    with session.client() as client:
        names = names_of_open(client, jobs, filter=filter, states=states, experiment=experiment)
        return for_each(client, names, act, tell, as_json=as_json)


@click.command()
@click.argument("jobs", nargs=-1, required=True, metavar="JOB...", shell_complete=complete_jobs)
@json_option
@click.pass_obj
def retry(session: Session, jobs: Sequence[str], as_json: bool) -> int:
    """Submit ended jobs again, as new jobs with the same specs."""
    with session.client() as client:
        return for_each(
            client,
            jobs,
            lambda job: job.retry(),
            lambda job: f"{job.id} repeats {job.message.retry_of.removeprefix('jobs/')}",
            as_json=as_json,
        )


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
        _tell_detached(jobs)
        return _DETACHED
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
        say(f"MLflow: {url}", err=stderr)
    elif len(tracked) == 1 and not tracked[0].message.tracking.run_id:
        note(
            f"the results are on their way to MLflow; open them with: talweg open {tracked[0].id}"
        )


def _tell_detached(jobs: Sequence[Job]) -> None:
    ids = " ".join(job.id for job in jobs[:20])
    ids += " …" if len(jobs) > 20 else ""
    what = "the job continues" if len(jobs) == 1 else "the jobs continue"
    note(f"\ndetached; {what}. Reattach: talweg watch {ids}\nCancel: talweg cancel {ids}")


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
        _tell_detached(jobs)
        return _DETACHED
    return 0 if succeeded else _problems.JOB_NOT_SUCCEEDED


def for_each(
    client: Client,
    names: Sequence[str],
    act: Callable[[Job], Job],
    tell: Callable[[Job], str],
    *,
    as_json: bool,
) -> int:
    """Do something with each job; a refused job does not stop the others."""
    status = 0
    done: list[Job] = []
    for name in names:
        try:
            (job,) = find_jobs(client, [name])
            done.append(act(job))
        except TalwegError as error:
            _problems.tell(error, about=name)
            status = max(status, _problems.status_of(error))
        else:
            if not as_json:
                say(tell(done[-1]))
    if as_json:
        print_json([job_json(job) for job in done])
    return status
