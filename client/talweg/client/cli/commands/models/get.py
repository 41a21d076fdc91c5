"""`talweg get`."""

import sys
from pathlib import Path

import click

from talweg.client import Artifact, Job
from talweg.client.cli._common import Session, json_option, note, print_json, say
from talweg.client.cli._targets import find_jobs
from talweg.client.cli.completions import complete_jobs


@click.command()
@click.argument("job", shell_complete=complete_jobs)
@click.argument("path", default="")
@click.option(
    "-o",
    "--output",
    "folder",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder into which the files go. Default: a folder named by the job's id.",
)
@click.option("--list", "only_list", is_flag=True, help="List the files instead.")
@json_option
@click.pass_obj
def get(
    session: Session, job: str, path: str, folder: Path | None, only_list: bool, as_json: bool
) -> None:
    """Download the files of a job: model, plots, tables, logs, evidence of a divergence.

    PATH is a file or a folder among them, such as model or plots/losses.png; all by default. Files
    that are there already are not sent again, and a download that broke off goes on.
    """
    with session.client() as client:
        (ended,) = find_jobs(client, [job])
        if only_list:
            _list(ended.artifacts(path), as_json)
            return
        written = _download(ended, path, folder or Path(ended.id))
    if as_json:
        print_json([str(file) for file in written])
        return
    for file in written:
        say(str(file))


def _list(files: list[Artifact], as_json: bool) -> None:
    if as_json:
        print_json(
            [{"path": each.path, "bytes": each.num_bytes, "sha256": each.sha256} for each in files]
        )
        return
    if not files:
        note("no files yet")
    width = max((len(f"{each.num_bytes:,}") for each in files), default=0)
    for each in files:
        say(f"{each.num_bytes:>{width},}  {each.path}")


def _download(job: Job, path: str, folder: Path) -> list[Path]:
    if not sys.stderr.isatty():
        return job.download(path, folder)
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    from talweg.client.cli._common import console

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    with Progress(*columns, console=console(stderr=True), transient=True) as bars:
        tasks = {}

        def progress(file: Artifact, num_bytes: int) -> None:
            if file.path not in tasks:
                tasks[file.path] = bars.add_task(file.path, total=file.num_bytes)
            bars.update(tasks[file.path], completed=num_bytes)

        return job.download(path, folder, progress=progress)
