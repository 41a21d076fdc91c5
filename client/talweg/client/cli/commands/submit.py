"""`talweg submit`."""

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import click

from talweg.client import (
    BatchError,
    Client,
    InvalidRequest,
    InvalidSpec,
    Job,
    Sweep,
    TalwegError,
)
from talweg.client._files import MAX_FILE_BYTES, gather, text_value
from talweg.client.cli import _problems
from talweg.client.cli._common import Session, json_option, note, print_json, say
from talweg.client.cli._targets import Target, target_json
from talweg.client.cli.commands.sweeps.editing import may_create
from talweg.client.cli.commands.sweeps.submitting import print_planned
from talweg.client.cli.commands.sweeps.watching import DETACHED, follow_sweeps
from talweg.client.sweeps._files import read_specs, specs_of
from talweg.spec import Violation
from talweg.spec.broker import CUDA_QUEUE
from talweg.v1.spec_pb2 import Resources
from talweg.v1.sweeps_pb2 import SweepSpec

if TYPE_CHECKING:
    from talweg.v1.spec_pb2 import JobSpec

# At most this many jobs are listed.
_MAX_LISTED = 30


class _Source(NamedTuple):
    file: str
    specs: "list[JobSpec] | SweepSpec"

    @property
    def jobs(self) -> "list[JobSpec]":
        """The jobs; none of a sweep."""
        return [] if isinstance(self.specs, SweepSpec) else self.specs

    @property
    def sweeps(self) -> list[SweepSpec]:
        """The sweep, if it is one."""
        return [self.specs] if isinstance(self.specs, SweepSpec) else []


@click.command()
@click.argument(
    "files", nargs=-1, required=True, metavar="FILE...", type=click.Path(allow_dash=True)
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Change a field of every job, or of a sweep's base, such as training.epochs=5. "
    "Repeatable.",
)
@click.option(
    "--edits",
    metavar="SWEEP",
    help="The earlier version of the sweep; else the latest one of its display_name. What differs "
    "is shown, and asked about, before anything runs.",
)
@click.option("--yes", is_flag=True, help="Create an edited sweep without asking.")
@click.option("--watch", is_flag=True, help="Follow jobs and sweeps until they end.")
@click.option(
    "--dry-run",
    is_flag=True,
    help="Validate only, and print the specs with all defaults; of a sweep the first settings.",
)
@json_option
@click.pass_obj
def submit(
    session: Session,
    files: Sequence[str],
    overrides: Sequence[str],
    edits: str | None,
    yes: bool,
    watch: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Submit the jobs and sweeps of files in YAML or JSON; - is standard input.

    A file has one job, a batch, or a sweep. A batch has `jobs`, a list of jobs, and `base`, the
    fields that they share. A sweep has `base` and `space`: docs/sweeps.md describes it. All are
    validated before the first is submitted.
    """
    sources, status = _read(files, overrides)
    if status:
        return status
    specs = [spec for source in sources for spec in source.jobs]
    num_sweeps = sum(len(source.sweeps) for source in sources)
    if edits and num_sweeps != 1:
        hint = "leave --edits out, or submit the edited sweep alone"
        found = f"{num_sweeps} sweeps"
        raise InvalidRequest(violations=[Violation("--edits", found, "one sweep", hint)])
    with session.client() as client:
        checked: tuple[Sequence[Job], Sequence[Sweep]] = ((), ())
        if dry_run or len(specs) + num_sweeps > 1:
            status, checked = _check(client, sources)
            if status:
                return status
        wanted = [spec for source in sources for spec in source.sweeps]
        skip = yes or dry_run
        if not all(may_create(client, each, edits=edits or "", yes=skip) for each in wanted):
            note("nothing was submitted")
            return _problems.USAGE
        if dry_run:
            _print_checked(checked, as_json=as_json)
            return 0
        status, jobs = _submit_jobs(client, sources)
        sweeps: list[Sweep] = []
        if not status:
            status, sweeps = _create_sweeps(client, sources)
        if not jobs and not sweeps:
            return status
        tell_warnings(jobs)
        _tell_missing_workers(client, jobs)
        if watch:
            status = _follow(client, jobs, sweeps, stderr=as_json) or status
        if as_json:
            both: list[Target] = [*jobs, *sweeps]
            print_json([target_json(each.refresh() if watch else each) for each in both])
        elif not watch:
            _print_submitted(client, jobs, sweeps)
    return status


def _check(
    client: Client, sources: Sequence[_Source]
) -> tuple[int, tuple[Sequence[Job], Sequence[Sweep]]]:
    """Validate all jobs and sweeps, and report those that are refused."""
    specs = [spec for source in sources for spec in source.jobs]
    checked = client.submit_many(specs, validate_only=True, return_errors=True) if specs else []
    status = _tell_refused(sources, checked)
    sweeps = []
    for source in sources:
        for spec in source.sweeps:
            try:
                sweeps.append(client.sweep(spec, validate_only=True))
            except TalwegError as error:
                _problems.tell(error, about=source.file)
                status = status or _problems.status_of(error)
    if status:
        note("nothing was submitted")
    return status, ([job for job in checked if isinstance(job, Job)], sweeps)


def _submit_jobs(client: Client, sources: Sequence[_Source]) -> tuple[int, list[Job]]:
    specs = [spec for source in sources for spec in source.jobs]
    if not specs:
        return 0, []
    try:
        jobs = [client.submit(specs[0])] if len(specs) == 1 else client.submit_many(specs)
    except InvalidSpec as error:
        status = _tell_refused(sources, [error])
        note("nothing was submitted")
        return status, []
    except BatchError as error:
        # All were valid, so the server failed in between; accepted jobs go on.
        status = _problems.report(error)
        return status, [result for result in error.results if isinstance(result, Job)]
    return 0, jobs


def _create_sweeps(client: Client, sources: Sequence[_Source]) -> tuple[int, list[Sweep]]:
    sweeps: list[Sweep] = []
    for source in sources:
        for spec in source.sweeps:
            try:
                sweeps.append(client.sweep(spec))
            except TalwegError as error:
                _problems.tell(error, about=source.file)
                if not sweeps:
                    note("nothing was submitted" if not source.jobs else "the sweep was refused")
                return _problems.status_of(error), sweeps
    return 0, sweeps


def _follow(client: Client, jobs: Sequence[Job], sweeps: Sequence[Sweep], *, stderr: bool) -> int:
    """Follow the jobs, then the sweeps, and return the exit status."""
    from talweg.client.cli.commands.control import follow_or_detach

    status = follow_or_detach(client, jobs, stderr=stderr) if jobs else 0
    if sweeps and status != DETACHED:
        status = max(status, follow_sweeps(client, sweeps, stderr=stderr))
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
                value = text_value(content, source="standard input")
                specs = specs_of(value, source="standard input", overrides=overrides)
            else:
                specs = read_specs(file, overrides=overrides)
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
        of_source, remaining = remaining[: len(source.jobs)], remaining[len(source.jobs) :]
        invalid = {i: error for i, error in enumerate(of_source) if isinstance(error, InvalidSpec)}
        others = {
            str(error): error
            for error in of_source
            if isinstance(error, TalwegError) and not isinstance(error, InvalidSpec)
        }
        if invalid:
            violations = gather(invalid, total=len(source.jobs))
            status = _problems.report(InvalidSpec(violations=violations, source=source.file))
        for error in others.values():
            _problems.tell(error, about=source.file)
            status = status or _problems.status_of(error)
    return status


def _print_submitted(client: Client, jobs: Sequence[Job], sweeps: Sequence[Sweep]) -> None:
    from talweg.spec import display_name
    from talweg.spec.sweeps import sweep_title

    for job in jobs[:_MAX_LISTED]:
        say(f"{job.id}  {display_name(job.message.spec)}")
    if len(jobs) > _MAX_LISTED:
        say(f"… and {len(jobs) - _MAX_LISTED} more")
    for sweep in sweeps:
        say(f"{sweep.id}  {sweep_title(sweep.message.spec)}")
    parts = [
        f"{count} {what}{'s' * (count > 1)}"
        for count, what in ((len(jobs), "job"), (len(sweeps), "sweep"))
        if count
    ]
    if len(jobs) + len(sweeps) == 1:
        follow = f"talweg watch {jobs[0].id if jobs else sweeps[0].id}"
    else:
        follow = "talweg jobs" if jobs else "talweg sweeps"
    note(f"submitted {' and '.join(parts)} to {client.address}; follow with: {follow}")


def _print_checked(checked: tuple[Sequence[Job], Sequence[Sweep]], *, as_json: bool) -> None:
    from talweg.spec import to_dict, to_yaml

    jobs, sweeps = checked
    tell_warnings(jobs)
    if as_json:
        of_jobs = [to_dict(job.spec) for job in jobs]
        print_json([*of_jobs, *(to_dict(sweep.spec) for sweep in sweeps)])
    else:
        say("---\n".join(to_yaml(job.spec) for job in jobs), end="")
        for index, sweep in enumerate(sweeps):
            print_planned(sweep, is_first=not jobs and not index)
    parts = [
        f"{len(each)} valid {what}{'s' * (len(each) > 1)}"
        for each, what in ((jobs, "job"), (sweeps, "sweep"))
        if each
    ]
    note(f"{' and '.join(parts)}; nothing was submitted")
