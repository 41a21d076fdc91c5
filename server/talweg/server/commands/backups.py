"""`talweg backup` and `talweg restore`."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from talweg.server.backup import backup as backups
from talweg.server.backup.places import find_places
from talweg.server.commands.explained import explained
from talweg.server.store.record.dump import DumpError

_DATA = click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    help="The data folder of a stack. Default: TALWEG_DATA, else the server of "
    "TALWEG_DATABASE_URL, else .talweg.",
)


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@_DATA
@click.option(
    "--no-blobs", is_flag=True, help="Without the blob store, which has a backup of its own."
)
def backup(folder: Path, data: Path | None, no_blobs: bool) -> None:
    """Write a backup into FOLDER, while everything runs.

    It holds the record, as of one moment; checkpoints, data sets and files of jobs; the key of the
    tokens; and, of a stack on one machine, MLflow and the results that wait for it. It holds
    secrets: keep it as safe as the stack itself.
    """
    with explained(), _kept():
        found = find_places(data, os.environ)
        backups.back_up(found, folder, include_blobs=not no_blobs, say=click.echo)
    click.echo(f"the backup is in {folder}")


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@_DATA
@click.option(
    "--incomplete",
    is_flag=True,
    help="Also of a backup that has lost files: restore what is there, and say what is missing.",
)
def restore(folder: Path, data: Path | None, incomplete: bool) -> None:
    """Restore the backup in FOLDER where nothing is yet.

    A backup of SQLite can be restored into PostgreSQL, and the reverse. Jobs that ran when it was
    written are resumed.
    """
    with explained(), _kept():
        found = find_places(data, os.environ)
        backups.restore(folder, found, incomplete=incomplete, say=click.echo)
    click.echo("restored")


@contextmanager
def _kept() -> Iterator[None]:
    try:
        yield
    except (DumpError, OSError) as exc:
        raise click.ClickException(str(exc)) from exc
