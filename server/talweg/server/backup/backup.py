"""Writes a backup while servers go on, and restores it.

A backup is a folder: `manifest.json`, written last; `record`, the tables; `blobs`; `token-key`;
and, of a stack on one machine, `spool`, `mlflow` and its tokens.

The record is read first. What it calls delivered is then surely in MLflow when that is copied, and
what it does not is in the spool, which is copied before MLflow. Jobs that run then are resumed
after a restore, from a checkpoint that is in the backup, or else from their beginning.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sqlalchemy import select

from talweg.server.backup.copying import copy_folder
from talweg.server.backup.places import Places
from talweg.server.store.record import dump, migrate
from talweg.server.store.record.database import Database
from talweg.server.store.record.dump import DumpError
from talweg.server.store.record.schema import stored_datasets

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


def back_up(places: Places, target: Path, *, include_blobs: bool, say: Say) -> None:
    """Write a backup.

    Args:
        places: Where everything is.
        target: A folder that does not exist, or is empty.
        include_blobs: Also the blob store.
        say: Told what was written, a line each.

    Raises:
        DumpError: The target is not empty, or the record cannot be read.
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
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    (target / "record").mkdir(mode=0o700)
    database = Database(places.database_url)
    try:
        rows = dump.write_tables(database, target / "record")
        digests = _stored(database)
    finally:
        database.close()
    say(f"record: {sum(rows.values()):,} rows, {rows['jobs']:,} jobs")
    counts: dict[str, int] = {}
    folders = {**places.folders, **({} if blobs is None else {"blobs": blobs})}
    for name, source in folders.items():
        if source.exists():
            counts[name], num_bytes = copy_folder(source, target / name)
            say(f"{name}: {counts[name]:,} files, {num_bytes:,} bytes")
    for name, path in {**places.files, "token-key": places.token_key}.items():
        if path.exists():
            _copy_secret(path, target / name)
    if blobs is not None:
        _check_data(target / "blobs", digests)
    manifest = {
        "format": _FORMAT,
        "talweg": version("talweg"),
        "record_version": migrate.latest(),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "folders": counts,
    }
    # Last: without it, a backup is none.
    (target / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")


def restore(source: Path, places: Places, *, say: Say) -> None:
    """Restore a backup where nothing is yet.

    Args:
        source: The backup.
        places: Where everything belongs.
        say: Told what was restored, a line each.

    Raises:
        DumpError: It is no whole backup, or there is something in its place already.
        DatabaseUnavailable: The record does not answer.
        OSError: A file cannot be read or written.
    """
    manifest = read_manifest(source)
    targets = dict(places.folders)
    if "blobs" in manifest.folders:
        if places.blob_folder is None:
            raise DumpError(f"the blobs belong to {places.blobs}, which is no folder here")
        targets["blobs"] = places.blob_folder
    for name in manifest.folders:
        if name not in targets:
            raise DumpError(
                f"the backup is of a stack on one machine, with {name}: restore it by --data "
                "FOLDER"
            )
        if targets[name].exists() and any(targets[name].iterdir()):
            raise DumpError(f"{targets[name]} is not empty: choose a new place")
    files = {**places.files, "token-key": places.token_key}
    for name, path in files.items():
        if (source / name).exists() and path.exists():
            raise DumpError(f"{path} exists already: choose a new place")
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    database = Database(places.database_url)
    try:
        rows = dump.read_tables(database, source / "record", version=manifest.record_version)
    finally:
        database.close()
    say(f"record: {sum(rows.values()):,} rows, {rows.get('jobs', 0):,} jobs")
    for name in manifest.folders:
        num_files, num_bytes = copy_folder(source / name, targets[name])
        say(f"{name}: {num_files:,} files, {num_bytes:,} bytes")
    for name, path in files.items():
        if (source / name).exists():
            _copy_secret(source / name, path)


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
        return Manifest(str(facts["record_version"]), dict(facts["folders"]))
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise DumpError(
            f"{source} is no backup, or one that broke off: {MANIFEST} is written last"
        ) from exc


def _copy_secret(source: Path, target: Path) -> None:
    file = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(file, "wb") as opened:
        opened.write(source.read_bytes())


def _stored(database: Database) -> list[str]:
    with database.read() as connection:
        return list(connection.scalars(select(stored_datasets.c.digest).distinct()))


def _check_data(blobs: Path, digests: list[str]) -> None:
    missing = [digest for digest in digests if not (blobs / "datasets" / digest).exists()]
    if missing:
        raise DumpError(
            f"the content of {len(missing)} data sets is not in the blob store, the first "
            f"{missing[0][:12]}: it was deleted meanwhile, or is lost. Try again"
        )
