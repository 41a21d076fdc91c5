"""Deleting jobs: nothing that another job needs goes, and nothing is forgotten half-way."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select
from tests.server.samples import Rules, spec

from talweg.server.errors import InvalidRequest, JobInUse, JobNotEnded, JobNotFound
from talweg.server.services.retention.collection import CollectionService
from talweg.server.services.retention.deletion import DeletionService
from talweg.server.store.record import schema
from talweg.server.store.record.clock import microseconds
from talweg.server.store.removals import Removal
from talweg.v1.jobs_pb2 import CollectJobsRequest, Job, Progress, TrackingRun
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.workers_pb2 import Kept

NOW = timedelta(0)


@pytest.fixture
def deletion(rules: Rules) -> DeletionService:
    return DeletionService(rules.database)


@pytest.fixture
def collection(rules: Rules) -> CollectionService:
    return CollectionService(rules.database)


def num_rows(rules: Rules) -> dict[str, int]:
    tables = (
        schema.jobs,
        schema.events,
        schema.attempts,
        schema.metrics,
        schema.tags,
        schema.links,
    )
    with rules.database.read() as connection:
        return {
            table.name: connection.scalar(select(func.count()).select_from(table)) or 0
            for table in tables
        }


async def delivered(rules: Rules, *args: Any, **values: Any) -> Any:
    """Return a job that has ended and whose results are in MLflow."""
    row = await rules.finished(*args, **values)
    run = TrackingRun(run_id=f"run-{row.id}", experiment_id="7", complete=True)
    await rules.tracking.set_run(row.name, expected="", run=run)
    return rules.get(row)


async def continuing(rules: Rules, row: Any) -> Any:
    """Return a job whose spec names another one, as one that continues it does."""
    new = spec()
    new.continued_from.job, new.continued_from.step = row.name, 5
    with rules.database.write() as tx:
        kept = Kept()
        kept.checkpoints.add(name=f"{row.name}/checkpoints/{5:012}-1", step=5, epoch=1, attempt=1)
        tx.connection.execute(
            schema.jobs.update()
            .where(schema.jobs.c.seq == row.seq)
            .values(checkpoints=kept.SerializeToString())
        )
    new.training.steps = 50
    return await rules.submit(new)


async def test_a_deleted_job_leaves_no_row_and_a_note_for_workers(
    rules: Rules, deletion: DeletionService
) -> None:
    before = num_rows(rules)
    row = await delivered(rules, spec(tags={"team": "blue"}), test_mae=1.0)
    await deletion.delete(row.name, force=False)
    assert num_rows(rules) == before
    with pytest.raises(JobNotFound):
        await rules.jobs.get(row.name)
    assert list(await deletion.pending(0)) == [Removal(row.id, f"run-{row.id}", "7", "default")]
    # Once more, as after an answer that was lost.
    await deletion.delete(row.name, force=False)
    await deletion.finish(row.name)
    await deletion.finish(row.name)
    assert list(await deletion.pending(0)) == []
    with pytest.raises(JobNotFound):
        await deletion.delete(row.name, force=False)


async def test_a_job_that_never_began_has_nothing_to_remove(
    rules: Rules, deletion: DeletionService
) -> None:
    row = await rules.submit()
    await rules.cancellation.cancel(row.name, force=False, reason="")
    await deletion.delete(row.name, force=False)
    assert list(await deletion.pending(0)) == []


async def test_what_is_not_over_is_refused_with_the_way_out(
    rules: Rules, deletion: DeletionService
) -> None:
    running = await rules.running()
    with pytest.raises(JobNotEnded, match="is RUNNING: cancel it first"):
        await deletion.delete(running.name, force=True)
    ended = await rules.finished()
    with pytest.raises(JobNotEnded, match="still on their way to MLflow"):
        await deletion.delete(ended.name, force=False)
    await rules.tracking.set_run(ended.name, expected="", run=TrackingRun(run_id="r"))
    with pytest.raises(JobNotEnded, match="still on their way to MLflow"):
        await deletion.delete(ended.name, force=False)
    await deletion.delete(ended.name, force=True, validate_only=True)
    assert (await rules.jobs.get(ended.name)).row.state == Job.SUCCEEDED
    await deletion.delete(ended.name, force=True)
    for name in ("jobs/none", "none", "jobs/../x"):
        with pytest.raises((JobNotFound, InvalidRequest)):
            await deletion.delete(name, force=False)


async def test_what_another_job_refers_to_stays(rules: Rules, deletion: DeletionService) -> None:
    row = await delivered(rules)
    user = await continuing(rules, row)
    with pytest.raises(JobInUse, match=f"another job refers to it .{user.name}."):
        await deletion.delete(row.name, force=True)
    await rules.cancellation.cancel(user.name, force=True, reason="")
    with pytest.raises(JobInUse):
        await deletion.delete(row.name, force=True)
    await deletion.delete(user.name, force=True)
    await deletion.delete(row.name, force=True)


async def test_the_best_of_each_experiment_is_kept(
    rules: Rules, collection: CollectionService
) -> None:
    values = {"a": (3.0, 1.0, 2.0), "b": (5.0,)}
    rows = {
        (experiment, value): await delivered(rules, spec(experiment=experiment), test_mae=value)
        for experiment, of in values.items()
        for value in of
    }
    failed = await delivered(rules, spec(experiment="a"), state=Job.FAILED)
    running = await rules.running(spec(experiment="a"))
    looked = await collection.collect(
        older_than=NOW, keep=CollectJobsRequest.BEST, validate_only=True
    )
    done = await collection.collect(older_than=NOW, keep=CollectJobsRequest.BEST)
    gone = {rows["a", 3.0].id, rows["a", 2.0].id, failed.id}
    assert {row.id for row in looked.rows} == {row.id for row in done.rows} == gone
    assert done.num_kept == 2
    page = await rules.jobs.list_page(filter="", order_by="", page_size=0, page_token="")
    left = {rows["a", 1.0].id, rows["b", 5.0].id, running.id}
    assert {view.row.id for view in page.jobs} == left


async def test_the_best_of_one_project_is_none_of_another(
    rules: Rules, collection: CollectionService
) -> None:
    best, worse = [
        await delivered(rules, spec(experiment="a"), test_mae=value) for value in (1.0, 2.0)
    ]
    with rules.database.write() as tx:
        tx.connection.execute(
            schema.jobs.update().where(schema.jobs.c.seq == worse.seq).values(project="other")
        )
    # As the duty of the server does, over all projects.
    done = await collection.collect(older_than=NOW, keep=CollectJobsRequest.BEST)
    assert (list(done.rows), done.num_kept) == ([], 2)
    done = await collection.collect(older_than=NOW, keep=CollectJobsRequest.LAST)
    assert list(done.rows) == []
    assert rules.get(best).id == best.id


async def test_the_last_or_none_is_kept_and_the_young_always(
    rules: Rules, collection: CollectionService
) -> None:
    first, last = [await delivered(rules, spec(experiment="a"), test_mae=1.0) for _ in range(2)]
    done = await collection.collect(older_than=timedelta(days=1), keep=CollectJobsRequest.NONE)
    assert (list(done.rows), done.num_kept) == ([], 0)
    done = await collection.collect(older_than=NOW, keep=CollectJobsRequest.LAST)
    assert [row.id for row in done.rows] == [first.id]
    done = await collection.collect(
        older_than=NOW, keep=CollectJobsRequest.NONE, filter='experiment = "b"'
    )
    assert list(done.rows) == []
    done = await collection.collect(older_than=NOW, keep=CollectJobsRequest.NONE)
    assert [row.id for row in done.rows] == [last.id]


async def test_collecting_keeps_what_is_referred_to_until_its_users_go(
    rules: Rules, collection: CollectionService
) -> None:
    row = await delivered(rules, spec(experiment="a"))
    user = await continuing(rules, row)
    done = await collection.collect(older_than=NOW, keep=CollectJobsRequest.NONE)
    assert (list(done.rows), done.num_kept) == ([], 1)
    await rules.cancellation.cancel(user.name, force=True, reason="")
    done = await collection.collect(older_than=NOW, keep=CollectJobsRequest.NONE)
    assert [each.id for each in done.rows] == [user.id, row.id]


async def test_results_on_their_way_are_not_collected(
    rules: Rules, collection: CollectionService
) -> None:
    ended = await rules.finished(spec(experiment="a"))
    made = await rules.finished(spec(experiment="a"))
    await rules.tracking.set_run(made.name, expected="", run=TrackingRun(run_id="r"))
    done = await collection.collect(older_than=NOW, keep=CollectJobsRequest.NONE)
    assert (list(done.rows), done.num_kept) == ([], 2)
    # A job that was lost before its first results gets no run, however long one waits.
    for row in (ended, made):
        end_time = rules.get(row).end_time or 0
        rules.alter(row, end_time=end_time - microseconds(timedelta(days=2)))
    done = await collection.collect(older_than=NOW, keep=CollectJobsRequest.NONE)
    assert [row.id for row in done.rows] == [ended.id]


async def test_a_job_that_is_replayed_stays(
    rules: Rules, deletion: DeletionService, collection: CollectionService
) -> None:
    row = await delivered(rules)
    rules.alter(row, progress=Progress(step=5, total_steps=9).SerializeToString())
    replay = JobSpec()
    replay.CopyFrom(row.job_spec)
    replay.replay.job, replay.replay.step = row.name, 3
    user = await rules.submit(replay)
    with pytest.raises(JobInUse, match=f"another job refers to it .{user.name}."):
        await deletion.delete(row.name, force=True)
    done = await collection.collect(older_than=NOW, keep=CollectJobsRequest.NONE)
    assert list(done.rows) == []


async def test_an_age_out_of_bounds_is_refused(collection: CollectionService) -> None:
    with pytest.raises(InvalidRequest):
        await collection.collect(older_than=timedelta(seconds=-1), keep=CollectJobsRequest.NONE)
