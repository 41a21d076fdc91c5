"""`talweg rm` and `talweg gc`."""

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

import click

from talweg.client import TalwegError
from talweg.client.cli import _problems
from talweg.client.cli._common import Session, age, confirm, json_option, note, print_json, say
from talweg.client.cli._selection import jobs_or_filter, select_jobs

if TYPE_CHECKING:
    from talweg.v1.jobs_pb2 import CollectJobsResponse


@click.command()
@jobs_or_filter
@click.option("--force", is_flag=True, help="Do not wait for results on their way to MLflow.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.pass_obj
def rm(
    session: Session,
    jobs: Sequence[str],
    filter: str,
    states: Sequence[str],
    experiment: str | None,
    force: bool,
    yes: bool,
) -> int:
    """Delete ended jobs with their checkpoints, models and runs in MLflow.

    A job that another one refers to stays: one that continues it, or compares by its model.
    """
    status = 0
    with session.client() as client:
        selected = select_jobs(client, jobs, filter=filter, states=states, experiment=experiment)
        what = selected[0].id if len(selected) == 1 else f"{len(selected)} jobs"
        if not yes:
            confirm(f"Delete {what}?")
        # The newest first: they may refer to older ones.
        for job in sorted(selected, key=lambda job: job.message.create_time.ToNanoseconds())[::-1]:
            try:
                job.delete(force=force)
            except TalwegError as error:
                _problems.tell(error, about=job.id)
                status = max(status, _problems.status_of(error))
            else:
                say(f"{job.id} is deleted")
    return status


@click.command()
@click.option(
    "--older-than",
    required=True,
    callback=age,
    metavar="AGE",
    help="Jobs that ended so long ago, such as 30d.",
)
@click.option(
    "--keep",
    type=click.Choice(("best", "last", "none")),
    default="best",
    show_default=True,
    help="Which job of each experiment stays.",
)
@click.option("--filter", default="", help="Only jobs that meet this condition.")
@click.option(
    "--unknown-folders",
    is_flag=True,
    help="Instead of jobs: folders of the blob store that belong to no job of this server.",
)
@click.option("--dry-run", is_flag=True, help="Only list what would be deleted.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@json_option
@click.pass_obj
def gc(
    session: Session,
    older_than: timedelta,
    keep: Literal["best", "last", "none"],
    filter: str,
    unknown_folders: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Delete old jobs, but for the best of each experiment and those that others need.

    With --unknown-folders it removes what jobs have left in the blob store that the server has
    forgotten, by the age of the file written last. Only where no other server uses that store.
    """
    from talweg.spec import to_dict

    if unknown_folders:
        if filter:
            raise click.UsageError("--filter chooses jobs: leave it out with --unknown-folders")
        return _collect_folders(session, older_than, dry_run=dry_run, yes=yes, as_json=as_json)
    with session.client() as client:

        def collect(*, only_look: bool) -> "CollectJobsResponse":
            return client.collect(older_than, keep=keep, filter=filter, dry_run=only_look)

        found = collect(only_look=True)
        if as_json and dry_run:
            print_json(to_dict(found))
            return 0
        if not as_json:
            for job in found.jobs:
                size = f"{job.checkpoint_bytes / 1e6:.1f} MB of checkpoints"
                say(f"{job.name.removeprefix('jobs/')}  {job.display_name}  {size}")
        if dry_run or not found.jobs:
            note(f"{len(found.jobs)} jobs to delete, {found.kept} of that age stay")
            return 0
        if not yes:
            many = f"{len(found.jobs)} jobs"
            confirm(f"Delete {many}?")
        done = collect(only_look=False)
    if as_json:
        print_json(to_dict(done))
    else:
        note(f"deleted {len(done.jobs)} jobs, {done.kept} of that age stay")
    return 0


def _collect_folders(
    session: Session, older_than: timedelta, *, dry_run: bool, yes: bool, as_json: bool
) -> int:
    from talweg.client.cli._common import ago
    from talweg.spec import to_dict
    from talweg.spec.identity.projects import DEFAULT_PROJECT

    with session.client() as client:
        found = client.collect_folders(older_than, dry_run=True)
        if as_json and dry_run:
            print_json(to_dict(found))
            return 0
        if not as_json:
            for folder in found.folders:
                written = f"last written {ago(folder.write_time)}"
                whose = "" if folder.project in ("", DEFAULT_PROJECT) else f"  {folder.project}"
                say(f"{folder.name}  {folder.bytes / 1e6:.1f} MB  {written}{whose}")
        many = f"{len(found.folders)} folders"
        if dry_run or not found.folders:
            note(f"{many} to remove, as the workers listed them within the last hour")
            return 0
        if not yes:
            confirm(f"Remove {many}? They must not belong to another server's jobs.")
        done = client.collect_folders(older_than)
    if as_json:
        print_json(to_dict(done))
    else:
        note(f"a worker removes {len(done.folders)} folders")
    return 0
