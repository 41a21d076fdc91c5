"""Folders in the blob store that belong to no job: listed, and removed by age if unneeded."""

import os
import time
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import insert
from tests.server.samples import Rules

from talweg.blobs import Blobs
from talweg.server.errors import BlobsUnavailable, InvalidRequest
from talweg.server.services.retention.deletion import DeletionService
from talweg.server.services.retention.folders import FolderService
from talweg.server.store.record import schema

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
OLD = 1_600_000_000
"""In 2020."""


@pytest.fixture
def folders(rules: Rules, tmp_path: Path) -> FolderService:
    return FolderService(rules.database, str(tmp_path / "store"))


def left(store: Path, name: str, written: float = OLD) -> None:
    """Leave files of a job."""
    for path, content in ((f"{name}/model/b", b"1234"), (f"{name}/checkpoints/a.json", b"{}")):
        Blobs(str(store)).write(path, content)
        os.utime(store / path, (written, written))


async def test_only_what_no_job_needs_is_unknown(
    rules: Rules, folders: FolderService, tmp_path: Path
) -> None:
    row = await rules.finished()
    # A job whose files are still to go, and one that a job in the record refers to.
    gone = await rules.finished()
    await DeletionService(rules.database).delete(gone.name, force=True)
    with rules.database.write() as tx:
        tx.connection.execute(insert(schema.links).values(job=row.seq, target="referredto01"))
    for name in (row.name, gone.name, "jobs/referredto01", "jobs/stranger0001"):
        left(tmp_path / "store", name)
    (tmp_path / "store" / "jobs" / "not a job").mkdir()
    (listed,) = await folders.collect(older_than=DAY, validate_only=True)
    assert (listed.id, listed.write_time, listed.bytes) == ("stranger0001", OLD * 1_000_000, 6)
    # Nothing is noted by looking.
    assert len(await DeletionService(rules.database).pending(0)) == 1


async def test_an_old_folder_is_removed_by_a_worker_and_a_young_one_stays(
    rules: Rules, folders: FolderService, tmp_path: Path
) -> None:
    left(tmp_path / "store", "jobs/old000000001")
    left(tmp_path / "store", "jobs/young0000001", time.time())
    # Age is that of the file written last.
    left(tmp_path / "store", "jobs/mixed0000001")
    Blobs(str(tmp_path / "store")).write("jobs/mixed0000001/model/c", b"")
    assert [each.id for each in await folders.collect(older_than=HOUR)] == ["old000000001"]
    (removal,) = await DeletionService(rules.database).pending(0)
    assert (removal.id, removal.run_id) == ("old000000001", "")
    # On its way out, it is not listed again.
    assert list(await folders.collect(older_than=HOUR, validate_only=True)) == []
    assert len(await folders.collect(older_than=timedelta(0), validate_only=True)) == 2


async def test_a_folder_of_a_project_is_removed_from_its_part(
    rules: Rules, folders: FolderService, tmp_path: Path
) -> None:
    row = await rules.finished()
    # Of a job that is known, wherever it lies; and one that an old worker has written to as well.
    left(tmp_path / "store", f"projects/vision/{row.name}")
    for name in ("jobs/old000000001", "projects/vision/jobs/old000000001"):
        left(tmp_path / "store", name)
    left(tmp_path / "store", "projects/speech/jobs/old000000002")
    collected = await folders.collect(older_than=HOUR)
    assert [(each.id, each.project) for each in collected] == [
        ("old000000001", "vision"),
        ("old000000002", "speech"),
    ]
    removals = await DeletionService(rules.database).pending(0)
    assert {each.id: each.project for each in removals} == {
        "old000000001": "vision",
        "old000000002": "speech",
    }


async def test_a_job_that_the_record_learns_of_meanwhile_keeps_its_folder(
    rules: Rules, folders: FolderService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = await rules.finished()
    left(tmp_path / "store", "jobs/wanted000001")
    written_before = FolderService._written_before

    def late(*arguments: object) -> object:
        with rules.database.write() as tx:
            tx.connection.execute(insert(schema.links).values(job=row.seq, target="wanted000001"))
        return written_before(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(FolderService, "_written_before", late)
    assert list(await folders.collect(older_than=DAY)) == []
    assert list(await DeletionService(rules.database).pending(0)) == []


async def test_refuses(rules: Rules, folders: FolderService) -> None:
    with pytest.raises(InvalidRequest, match="older_than"):
        await folders.collect(older_than=timedelta(days=-1))
    away = FolderService(rules.database, "nosuchprotocol://bucket")
    with pytest.raises(BlobsUnavailable, match="check TALWEG_BLOBS"):
        await away.collect(older_than=DAY)
    # A store that is empty has no folders.
    assert list(await folders.collect(older_than=DAY)) == []
