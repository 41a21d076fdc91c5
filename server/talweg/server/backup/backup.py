"""Writes a backup while servers go on, and restores it.

A backup is a folder: `manifest.json`, written last; `record`, the tables; `blobs`; `token-key`;
and, of a stack on one machine, `spool`, `mlflow` and its tokens.

The record is read first. What it calls delivered is then surely in MLflow when that is copied, and
what it does not is in the spool, which is copied before MLflow, or was delivered between: the
record is asked again about that, see `deliveries`. Jobs that run then are resumed after a restore,
from a checkpoint that is in the backup, or else from their beginning.
"""

import json
import shutil
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sqlalchemy import select

from talweg.blobs import project_blobs
from talweg.server.backup.copying import copy_folder, count_files
from talweg.server.backup.deliveries import add_deliveries
from talweg.server.backup.places import Places, check_record
from talweg.server.store.record import dump, migrate
from talweg.server.store.record.database import Database
from talweg.server.store.record.dump import DumpError
from talweg.server.store.record.schema import stored_datasets
from talweg.server.store.stored_datasets import Content
from talweg.spec.local.data_folder import BLOBS, SPOOL
from talweg.spec.local.whole_files import write_whole

MANIFEST = "manifest.json"
_FORMAT = 1

Say = Callable[[str], None]


@dataclass(frozen=True)
class Manifest:
    """What a backup holds."""

    record_version: str
    """The version of the record."""

    folders: dict[str, int]
    """The number of files of each folder."""

    rows: dict[str, int]
    """The number of rows of each table; empty in backups of earlier versions."""


def back_up(places: Places, target: Path, *, include_blobs: bool, say: Say) -> None:
    """Write a backup.

    Args:
        places: Where everything is.
        target: A folder that does not exist, or is empty.
        include_blobs: Also the blob store.
        say: Told what was written, a line each.

    Raises:
        DumpError: The target is not empty, lies where it would hold itself, or the record cannot
            be read.
        BadSetting: There is no record.
        DatabaseUnavailable: The record does not answer.
        OSError: A file cannot be read or written.
    """
    if target.exists() and any(target.iterdir()):
        raise DumpError(f"{target} is not empty: a backup needs a folder of its own")
    blobs = places.blob_folder if include_blobs else None
    if include_blobs and blobs is None:
        raise DumpError(
            f"the blobs are at {places.blobs}, which is no folder of this machine: keep them by "
            "the means of that store, and back up the rest with --no-blobs"
        )
    check_record(places)
    folders = {**places.folders, **({} if blobs is None else {BLOBS: blobs})}
    _check_apart(target, folders.values(), "the backup")
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    (target / "record").mkdir(mode=0o700)
    database = Database(places.database_url)
    try:
        rows = dump.write_tables(database, target / "record")
        contents = _stored(database)
        say(f"record: {sum(rows.values()):,} rows, {rows['jobs']:,} jobs")
        counts: dict[str, int] = {}
        for name, source in folders.items():
            if source.exists():
                counts[name], num_bytes = copy_folder(source, target / name)
                say(f"{name}: {counts[name]:,} files, {num_bytes:,} bytes")
        add_deliveries(database, target / "record", target / SPOOL)
    finally:
        database.close()
    for name, path in places.all_secrets.items():
        if path.exists():
            write_whole(target / name, path.read_bytes())
    if blobs is not None:
        _check_data(target / BLOBS, contents)
    manifest = {
        "format": _FORMAT,
        "talweg": version("talweg"),
        "record_version": migrate.latest(),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "folders": counts,
        "rows": rows,
    }
    # Last: without it, a backup is none.
    (target / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")


def restore(source: Path, places: Places, *, incomplete: bool, say: Say) -> None:
    """Restore a backup where nothing is yet.

    Args:
        source: The backup.
        places: Where everything belongs.
        incomplete: Whether it may have lost files, of which it is then said how many.
        say: Told what was restored, a line each.

    Raises:
        DumpError: It is no whole backup, or there is something in its place already, or that
            place is in the backup itself.
        DatabaseUnavailable: The record does not answer.
        OSError: A file cannot be read or written.
    """
    manifest = read_manifest(source)
    folders = _targets(manifest, places)
    secrets = {name: path for name, path in places.all_secrets.items() if (source / name).exists()}
    taken = [path for path in secrets.values() if path.exists()]
    taken += [path for path in folders.values() if path.exists() and any(path.iterdir())]
    if taken:
        raise DumpError(f"{taken[0]} exists already: restore where nothing is yet")
    for path in folders.values():
        _check_apart(path, [source], "what is restored")
    found = _check_whole(source, manifest, incomplete=incomplete, say=say)
    with ExitStack() as undone:
        for name, path in folders.items():
            undone.callback(shutil.rmtree, path, ignore_errors=True)
            num_files, num_bytes = copy_folder(source / name, path)
            if num_files != found[name]:
                raise DumpError(f"{source / name} was changed while it was restored: try again")
            say(f"{name}: {num_files:,} files, {num_bytes:,} bytes")
        for name, path in secrets.items():
            undone.callback(path.unlink, missing_ok=True)
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_whole(path, (source / name).read_bytes())
        # Last, in one transaction: what there is a record of is there.
        rows = _read_record(source / "record", places, manifest.record_version)
        undone.pop_all()
    say(f"record: {sum(rows.values()):,} rows, {rows.get('jobs', 0):,} jobs")


def _check_whole(
    source: Path, manifest: Manifest, *, incomplete: bool, say: Say
) -> dict[str, int]:
    """Count the files of each folder before anything is copied, and check that all are there."""
    rows = {
        f"record/{name}.jsonl has {count:,} of {num_rows:,} rows"
        for name, num_rows in manifest.rows.items()
        if (count := dump.count_rows(source / "record", name)) != num_rows
    }
    found = {name: count_files(source / name) for name in manifest.folders}
    wrong = sorted(rows) + [
        f"{name} has {found[name]:,} of {num_files:,} files"
        for name, num_files in manifest.folders.items()
        if found[name] != num_files
    ]
    if rows or (wrong and not incomplete):
        way_out = "restore another backup"
        if not rows:
            way_out += (
                ", or what is there by --incomplete: jobs whose checkpoints are lost begin again, "
                "and lost results, models and data sets stay lost"
            )
        raise DumpError(
            f"{source} is no longer what was written: {'; '.join(wrong)}. Nothing was restored; "
            f"{way_out}"
        )
    for each in wrong:
        say(f"incomplete: {each}")
    return found


def _check_apart(target: Path, sources: Iterable[Path], what: str) -> None:
    """Check that a folder is in none of those that are copied, which would then have no end."""
    place = target.resolve()
    for source in sources:
        if place.is_relative_to(source.resolve()):
            raise DumpError(
                f"{target} is in {source}, which is copied: {what} needs a place outside it"
            )


def _targets(manifest: Manifest, places: Places) -> dict[str, Path]:
    """Return where the folders of a backup belong."""
    targets = dict(places.folders)
    if BLOBS in manifest.folders:
        if places.blob_folder is None:
            raise DumpError(f"the blobs belong to {places.blobs}, which is no folder here")
        targets[BLOBS] = places.blob_folder
    if strange := sorted(set(manifest.folders) - set(targets)):
        raise DumpError(
            f"the backup is of a stack on one machine, with {strange[0]}: restore it by --data "
            "FOLDER"
        )
    return {name: targets[name] for name in manifest.folders}


def _read_record(folder: Path, places: Places, record_version: str) -> dict[str, int]:
    file = places.record_file
    is_new = file is not None and not file.exists()
    if file is not None:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    database = Database(places.database_url)
    try:
        return dump.read_tables(database, folder, version=record_version)
    except BaseException:
        database.close()
        if file is not None and is_new:
            for end in ("", "-wal", "-shm"):
                file.with_name(file.name + end).unlink(missing_ok=True)
        raise
    finally:
        database.close()


def read_manifest(source: Path) -> Manifest:
    """Read what a backup holds.

    Raises:
        DumpError: It is no whole backup, or of a later program.
    """
    try:
        facts: dict[str, Any] = json.loads((source / MANIFEST).read_text())
        if facts["format"] != _FORMAT:
            raise DumpError(
                f"{source} has format {facts['format']}, but this program reads {_FORMAT}"
            )
        return Manifest(
            str(facts["record_version"]), dict(facts["folders"]), dict(facts.get("rows", {}))
        )
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise DumpError(
            f"{source} is no backup, or one that broke off: {MANIFEST} is written last"
        ) from exc


def _stored(database: Database) -> list[Content]:
    columns = (stored_datasets.c.digest, stored_datasets.c.stored_in)
    with database.read() as connection:
        return [Content(*row) for row in connection.execute(select(*columns).distinct())]


def _check_data(blobs: Path, contents: list[Content]) -> None:
    missing = [
        content.digest
        for content in contents
        if not project_blobs(str(blobs), content.project).names(f"datasets/{content.digest}")
    ]
    if missing:
        raise DumpError(
            f"the content of {len(missing)} data sets is not in the blob store, the first "
            f"{missing[0][:12]}: it was deleted meanwhile, or is lost. Try again"
        )
