"""`talweg submit`."""

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import click

from talweg.client import BatchError, Client, InvalidSpec, Job, TalwegError, read_jobs
from talweg.client._files import MAX_FILE_BYTES, gather, parse_jobs
from talweg.client.cli import _problems
from talweg.client.cli._common import Session, job_json, json_option, note, print_json, say
from talweg.spec.broker import CUDA_QUEUE
from talweg.v1.spec_pb2 import Resources

if TYPE_CHECKING:
    from talweg.v1.spec_pb2 import JobSpec

# At most this many jobs are listed.
_MAX_LISTED = 30


class _Source(NamedTuple):
    file: str
    specs: list["JobSpec"]


@click.command()
@click.argument(
    "files", nargs=-1, required=True, metavar="FILE...", type=click.Path(allow_dash=True)
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Change a field of every job, such as training.epochs=5. Repeatable.",
)
@click.option("--watch", is_flag=True, help="Follow the jobs until they end.")
@click.option(
    "--dry-run", is_flag=True, help="Validate only, and print the specs with all defaults."
)
@json_option
@click.pass_obj
def submit(
    session: Session,
    files: Sequence[str],
    overrides: Sequence[str],
    watch: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Submit the jobs of job files in YAML or JSON; - is standard input.

    A file has one job, or a batch: `jobs`, a list of jobs, and `base`, the fields that they share.
    All jobs are validated before the first is submitted.
    """
    sources, status = _read(files, overrides)
    if status:
        return status
    specs = [spec for source in sources for spec in source.specs]
    with session.client() as client:
        if dry_run or len(specs) > 1:
            checked = client.submit_many(specs, validate_only=True, return_errors=True)
            status = _tell_refused(sources, checked)
            if status:
                return status
            if dry_run:
                _print_specs([job for job in checked if isinstance(job, Job)], as_json=as_json)
                return 0
        try:
            jobs = [client.submit(specs[0])] if len(specs) == 1 else client.submit_many(specs)
        except InvalidSpec as error:
            return _tell_refused(sources, [error])
        except BatchError as error:
            # All were valid, so the server failed in between; accepted jobs go on.
            status = _problems.report(error)
            jobs = [result for result in error.results if isinstance(result, Job)]
            if not jobs:
                return status
        tell_warnings(jobs)
        _tell_missing_workers(client, jobs)
        if watch:
            from talweg.client.cli.commands.control import follow_or_detach

            status = follow_or_detach(client, jobs, stderr=as_json) or status
            jobs = [job.refresh() for job in jobs] if as_json else jobs
        if as_json:
            print_json([job_json(job) for job in jobs])
        elif not watch:
            _print_submitted(client, jobs)
    return status


def tell_warnings(jobs: Iterable[Job]) -> None:
    """Print each warning of the submission once, with the number of its jobs."""
    about: dict[tuple[str, str], list[str]] = {}
    for job in jobs:
        for warning in job.warnings:
            about.setdefault((warning.field, warning.message), []).append(job.id)
    for (field, message), ids in about.items():
        who = f" ({len(ids)} jobs)" if len(ids) > 1 else ""
        note(f"warning{who}: {field + ': ' if field else ''}{message}")


def _tell_missing_workers(client: Client, jobs: Sequence[Job]) -> None:
    """Warn of jobs for a device that no worker has. Asking takes a second, so only these ask."""
    waiting = [job for job in jobs if job.message.spec.resources.device == Resources.cuda]
    if not waiting:
        return
    try:
        workers = client.workers()
    except TalwegError:
        # A server of an earlier version, or no broker: `talweg status` says so.
        return
    if not any(CUDA_QUEUE in worker.queues for worker in workers):
        num = f"{len(waiting)} jobs wait" if len(waiting) > 1 else "the job waits"
        note(
            f"warning: resources.device: {num} for a worker with CUDA, but none is connected. "
            "Start one with `talweg worker` on a machine with CUDA, or submit with "
            "--set resources.device=auto"
        )


def _read(files: Sequence[str], overrides: Sequence[str]) -> tuple[list[_Source], int]:
    """Read all files, and report the problems of each."""
    sources: list[_Source] = []
    status = 0
    for file in files:
        try:
            if file == "-":
                content = sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
                specs = parse_jobs(content, source="standard input", overrides=overrides)
            else:
                specs = read_jobs(file, overrides=overrides)
        except (InvalidSpec, OSError) as error:
            status = _problems.report(error)
        else:
            sources.append(_Source(file, specs))
    return sources, status


def _tell_refused(sources: Sequence[_Source], results: Sequence[Job | TalwegError]) -> int:
    """Report why jobs were refused, file by file; return 0 if none was."""
    status = 0
    remaining = list(results)
    for source in sources:
        of_source, remaining = remaining[: len(source.specs)], remaining[len(source.specs) :]
        invalid = {i: error for i, error in enumerate(of_source) if isinstance(error, InvalidSpec)}
        others = {
            str(error): error
            for error in of_source
            if isinstance(error, TalwegError) and not isinstance(error, InvalidSpec)
        }
        if invalid:
            violations = gather(invalid, total=len(source.specs))
            status = _problems.report(InvalidSpec(violations=violations, source=source.file))
        for error in others.values():
            _problems.tell(error, about=source.file)
            status = status or _problems.status_of(error)
    if status:
        note("nothing was submitted")
    return status


def _print_submitted(client: Client, jobs: Sequence[Job]) -> None:
    from talweg.spec import display_name

    for job in jobs[:_MAX_LISTED]:
        say(f"{job.id}  {display_name(job.message.spec)}")
    if len(jobs) > _MAX_LISTED:
        say(f"… and {len(jobs) - _MAX_LISTED} more")
    what = f"{len(jobs)} jobs" if len(jobs) > 1 else "1 job"
    follow = f"talweg watch {jobs[0].id}" if len(jobs) == 1 else "talweg jobs"
    note(f"submitted {what} to {client.address}; follow with: {follow}")


def _print_specs(jobs: Sequence[Job], *, as_json: bool) -> None:
    from talweg.spec import to_dict, to_yaml

    tell_warnings(jobs)
    if as_json:
        print_json([to_dict(job.spec) for job in jobs])
    else:
        say("---\n".join(to_yaml(job.spec) for job in jobs), end="")
    note(f"{len(jobs)} valid job{'s' if len(jobs) > 1 else ''}; nothing was submitted")
