"""What holds of connections and transactions over either database."""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError
from tests.server.samples import Rules, spec

from talweg.server.errors import DatabaseUnavailable, RequestIdReused
from talweg.server.services.attempts.reaper import Reaper
from talweg.server.services.submission.preparing import Submission
from talweg.server.store.record import migrate, outages
from talweg.server.store.record.database import Database, Transaction
from talweg.server.store.record.schema import jobs
from talweg.v1.jobs_pb2 import Job


async def test_reads_by_one_connection_see_one_state(rules: Rules) -> None:
    count = select(func.count()).select_from(jobs)
    await rules.submit()
    with rules.database.read() as connection:
        assert connection.scalar(count) == 1
        await rules.submit()
        assert connection.scalar(count) == 1
    with rules.database.read() as connection:
        assert connection.scalar(count) == 2


async def test_an_error_does_not_tell_what_a_statement_held(rules: Rules) -> None:
    row = await rules.submit(spec(display_name="a secret project"))
    same = {column.name: getattr(row, column.name) for column in jobs.columns}
    with pytest.raises(IntegrityError) as caught, rules.database.write() as tx:
        tx.connection.execute(jobs.insert(), same)
    assert "INSERT INTO jobs" in str(caught.value)
    assert "secret project" not in str(caught.value)


def with_options(url: str, options: str) -> str:
    changed = make_url(url).update_query_dict({"options": options})
    return changed.render_as_string(hide_password=False)


def waits_for_a_lock(database: Database) -> bool:
    with database.read() as connection:
        statement = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        return bool(connection.scalar(text(statement)))


async def test_batches_with_request_ids_in_opposite_order_both_end(
    emptied_postgres: Callable[[], str],
) -> None:
    """Each waits for what the other has; the one that PostgreSQL ends is tried again."""
    url = emptied_postgres()
    # Of the two, this one notices first.
    ended, going_on = Database(with_options(url, "-cdeadlock_timeout=3s")), Database(url)
    rules = Rules(ended, [])
    template = await rules.submit()

    def take(tx: Transaction, request_id: str) -> None:
        values = {column.name: getattr(template, column.name) for column in jobs.columns}
        del values["seq"]
        tx.connection.execute(jobs.insert(), values | {"id": request_id, "request_id": request_id})

    try:
        async with asyncio.timeout(360):
            with going_on.write() as tx:
                tx.connection.execute(text("SET LOCAL deadlock_timeout = '30s'"))
                take(tx, "a")
                batch = [Submission(spec(loss="mae"), "b"), Submission(spec(loss="mae"), "a")]
                answers = asyncio.create_task(rules.submission.submit_many(batch))
                while not waits_for_a_lock(going_on):
                    await asyncio.sleep(0.01)
                await asyncio.to_thread(take, tx, "b")
            assert [type(each) for each in await answers] == [RequestIdReused] * 2
    finally:
        rules.close()
        ended.close()
        going_on.close()


def test_postgresql_ends_what_takes_too_long(postgres_url: str) -> None:
    database = Database(postgres_url)
    with database.read() as connection:
        for name in ("statement_timeout", "idle_in_transaction_session_timeout"):
            assert connection.scalar(text(f"SHOW {name}")) == "1min"
        driver = connection.connection.driver_connection
        assert driver is not None
        told = driver.info.get_parameters()
        assert (told["keepalives_idle"], told["tcp_user_timeout"]) == ("10", "30000")
    database.close()
    # What the URL says holds; and what is ended counts as a database that does not answer now.
    impatient = Database(with_options(postgres_url, "-cstatement_timeout=50ms"))

    def slow() -> None:
        with impatient.read() as connection:
            connection.execute(text("SELECT pg_sleep(30)"))

    with pytest.raises(DatabaseUnavailable):
        slow()
    impatient.close()


async def test_a_lock_of_another_program_is_said_and_waited_for_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outages, "_LOCK_PATIENCE_MS", 50)
    file = tmp_path / "talweg.db"
    database = Database(f"sqlite:///{file}")
    migrate.upgrade(database)
    known = database.availability
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseUnavailable, match="locked by another program"):
            await database.check()
        # Those that stand behind are not held up one after another.
        monkeypatch.setattr(outages, "_LOCK_PATIENCE_MS", 3_600_000)
        with pytest.raises(DatabaseUnavailable, match="locked by another program"):
            await database.check()
        assert not known.has_been_back_for(0)
        other.execute("ROLLBACK")
    await database.check()
    assert known.has_been_back_for(0)
    assert not known.has_been_back_for(3600)
    assert known.lock_patience_ms == 3_600_000
    database.close()


async def test_a_damaged_record_is_said_and_stays_so(tmp_path: Path) -> None:
    file = tmp_path / "talweg.db"
    whole = Database(f"sqlite:///{file}")
    migrate.upgrade(whole)
    whole.close()
    with closing(sqlite3.connect(file)) as reader:
        (page,) = reader.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'jobs'"
        ).fetchone()
        (size,) = reader.execute("PRAGMA page_size").fetchone()
    with file.open("r+b") as damaged:
        damaged.seek((page - 1) * size)
        damaged.write(b"\xff" * size)
    database = Database(f"sqlite:///{file}")
    # What lies elsewhere in it can still be read and written.
    await database.check()
    with pytest.raises(DatabaseUnavailable, match="damaged"):
        await database.reading(lambda connection: connection.execute(select(jobs)).all())
    with pytest.raises(DatabaseUnavailable, match="damaged"):
        await database.check()
    database.close()


async def test_after_an_outage_workers_renew_their_leases_before_any_is_taken_back(
    rules: Rules, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = await rules.running()
    rules.alter(row, lease_until=1)
    known = rules.database.availability
    reaper = Reaper(rules.database, max_lost_attempts=3, lease=timedelta(hours=1))
    known.failed(DatabaseUnavailable("away"))
    assert not await reaper._reap()
    # That look has found the record well; the workers' time begins.
    assert known.has_been_back_for(0)
    assert not await reaper._reap()
    assert rules.get(row).state == Job.RUNNING
    monkeypatch.setattr(reaper, "_grace", 0.0)
    assert await reaper._reap()
    assert rules.get(row).state == Job.QUEUED


async def test_a_database_that_hangs_keeps_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outages, "_ROUND_S", 0.01)
    monkeypatch.setattr(outages, "_SILENT_S", 0.05)
    known = outages.Availability()
    hangs: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    with pytest.raises(DatabaseUnavailable, match="with the same request_id"):
        await known.answer(hangs, threads="writers")
    assert hangs.cancelled()
    answers: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    answers.set_result(7)
    assert await known.answer(answers, threads="writers") == 7
    # What is read meanwhile says nothing of what is written.
    hangs = asyncio.get_running_loop().create_future()

    async def read() -> None:
        while not hangs.cancelled():
            await known.answer(answers, threads="readers")
            await asyncio.sleep(0.01)

    reading = asyncio.create_task(read())
    with pytest.raises(DatabaseUnavailable):
        await known.answer(hangs, threads="writers")
    await reading


async def test_connections_that_fail_are_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outages, "_ROUND_S", 0.01)
    monkeypatch.setattr(outages, "_SILENT_S", 0.05)
    known = outages.Availability()
    hangs: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def connect() -> None:
        while not hangs.done():
            fails: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            fails.set_exception(DatabaseUnavailable("it cannot be reached"))
            with pytest.raises(DatabaseUnavailable, match="cannot be reached"):
                await known.answer(fails, threads="writers")
            await asyncio.sleep(0.01)

    connecting = asyncio.create_task(connect())
    late = asyncio.get_running_loop().call_later(60, hangs.set_result, 1)
    with pytest.raises(DatabaseUnavailable, match="with the same request_id"):
        await known.answer(hangs, threads="writers")
    late.cancel()
    await connecting
