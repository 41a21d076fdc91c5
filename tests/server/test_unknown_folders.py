"""Folders in the blob store that belong to no job: listed, and removed by age if unneeded."""

from datetime import timedelta

import pytest
from sqlalchemy import insert
from tests.server.samples import Rules

from talweg.server.errors import InvalidRequest
from talweg.server.services.retention.collection import CollectionService
from talweg.server.services.retention.deletion import DeletionService
from talweg.server.services.retention.folders import FolderService
from talweg.server.store import schema

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
OLD = 1_600_000_000_000_000
"""In 2020."""


@pytest.fixture
def folders(rules: Rules) -> FolderService:
    return FolderService(rules.database)


@pytest.fixture
def collection(rules: Rules) -> CollectionService:
    return CollectionService(rules.database)


async def test_only_what_no_job_needs_is_unknown(
    rules: Rules, folders: FolderService, collection: CollectionService
) -> None:
    row = await rules.finished()
    # A job whose files are still to go, and one that a job in the record refers to.
    gone = await rules.finished()
    await DeletionService(rules.database).delete(gone.name, force=True)
    with rules.database.write() as tx:
        tx.connection.execute(insert(schema.links).values(job=row.seq, target="referredto01"))
    names = [row.name, gone.name, "jobs/referredto01", "jobs/stranger0001"]
    assert await folders.report([(name, None, 0) for name in names]) == ["jobs/stranger0001"]
    # Asked without times, nothing is noted.
    assert await collection.collect_folders(older_than=timedelta(0)) == []
    assert await folders.report([(name, OLD, 7) for name in names]) == ["jobs/stranger0001"]
    (listed,) = await collection.collect_folders(older_than=DAY, validate_only=True)
    assert (listed.id, listed.write_time, listed.bytes) == ("stranger0001", OLD, 7)


async def test_an_old_folder_is_removed_by_a_worker_and_a_young_one_stays(
    rules: Rules, folders: FolderService, collection: CollectionService
) -> None:
    now = rules.get(await rules.finished()).create_time
    await folders.report([("jobs/old000000001", OLD, 1), ("jobs/young0000001", now, 1)])
    assert [each.id for each in await collection.collect_folders(older_than=HOUR)] == [
        "old000000001"
    ]
    deletion = DeletionService(rules.database)
    (removal,) = await deletion.pending(0)
    assert (removal.id, removal.run_id) == ("old000000001", "")
    # On its way out, it is neither listed nor noted again.
    assert await folders.report([("jobs/old000000001", OLD, 1)]) == []
    await deletion.finish("jobs/old000000001")
    assert await collection.collect_folders(older_than=HOUR, validate_only=True) == []


async def test_a_job_that_the_record_learns_of_again_keeps_its_folder(
    rules: Rules, folders: FolderService, collection: CollectionService
) -> None:
    row = await rules.finished()
    await folders.report([("jobs/wanted000001", OLD, 1)])
    with rules.database.write() as tx:
        tx.connection.execute(insert(schema.links).values(job=row.seq, target="wanted000001"))
    assert await collection.collect_folders(older_than=DAY) == []
    assert await DeletionService(rules.database).pending(0) == []


async def test_refuses(folders: FolderService, collection: CollectionService) -> None:
    with pytest.raises(InvalidRequest, match=r"folders\[1\].job"):
        await folders.report([("jobs/a", None, 0), ("../etc", None, 0)])
    with pytest.raises(InvalidRequest, match="1,000"):
        await folders.report([("jobs/a", None, 0)] * 1_001)
    with pytest.raises(InvalidRequest, match="1970"):
        await folders.report([("jobs/a", -1, 0)])
    with pytest.raises(InvalidRequest, match="older_than"):
        await collection.collect_folders(older_than=timedelta(days=-1))
