"""Migrations make the tables of the schema, once, however many servers start."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Table, create_engine, text

from talweg.server.errors import BadSetting, CannotStart
from talweg.server.store import jobs
from talweg.server.store.record import migrate, schema
from talweg.server.store.record.database import Database
from talweg.server.store.record.rows import AttemptRow, JobRow
from talweg.server.store.record.schema import metadata
from talweg.v1.jobs_pb2 import Job


def test_the_migrations_make_the_schema(database: Database) -> None:
    with database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


@pytest.mark.parametrize(("row", "table"), [(JobRow, schema.jobs), (AttemptRow, schema.attempts)])
def test_a_row_is_read_by_its_dataclass(row: type[JobRow | AttemptRow], table: Table) -> None:
    """`select(table)` gives the columns in the order in which the class takes them."""
    assert [column.name for column in table.columns] == [field.name for field in fields(row)]


def test_a_job_of_the_first_version_is_still_read(tmp_path: Path) -> None:
    """Later columns stand behind the others in such a database."""
    database = Database(f"sqlite:///{tmp_path}/old.db")
    first = {"id": "old", "priority": 3, "state": Job.RUNNING, "attempt": 2, "worker": "w"}
    with database.write() as tx:
        migrate.upgrade_to(tx.connection, "0001")
        columns = {
            row.name: first.get(row.name, b"" if row.type == "BLOB" else 0)
            for row in tx.connection.execute(
                text("SELECT name, type FROM pragma_table_info('jobs')")
            )
        }
        names = ", ".join(columns)
        values = ", ".join(f":{name}" for name in columns)
        tx.connection.execute(text(f"INSERT INTO jobs ({names}) VALUES ({values})"), columns)
    migrate.upgrade(database)
    with database.read() as connection:
        job = jobs.get(connection, "old")
    assert {name: getattr(job, name) for name in first} == first
    assert (job.pause_requested, job.pause_reason, job.checkpoints) == (False, "", None)
    database.close()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_servers_that_start_at_once_migrate_once(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    url = f"sqlite:///{tmp_path}/new.db"
    if kind == "postgresql":
        url = request.getfixturevalue("postgres_url")
        engine = create_engine(url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text("CREATE DATABASE new"))
        engine.dispose()
        url = url.replace("/postgres?", "/new?")
    databases = [Database(url) for _ in range(4)]
    assert migrate.current(databases[0]) is None
    with ThreadPoolExecutor(4) as threads:
        versions = list(threads.map(migrate.upgrade, databases))
    assert versions == [migrate.latest()] * 4
    assert migrate.current(databases[0]) == migrate.latest()
    for database in databases:
        database.close()


def test_upgrading_again_changes_nothing(database: Database) -> None:
    assert migrate.upgrade(database) == migrate.latest()


def test_a_later_database_is_refused(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/later.db")
    migrate.upgrade(database)
    with database.write() as tx:
        tx.connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(CannotStart, match="version 9999"):
        migrate.upgrade(database)
    database.close()


def test_a_migration_that_fails_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "torn.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE events (x)")
    connection.close()
    database = Database(f"sqlite:///{path}")
    with pytest.raises(Exception, match="events"):
        migrate.upgrade(database)
    with database.read() as db:
        tables = set(db.execute(text("SELECT name FROM sqlite_master")).scalars())
    assert tables == {"events"}
    database.close()


def test_sqlite_is_kept_as_measured(tmp_path: Path) -> None:
    """Write-ahead log; durable where something was promised."""
    database = Database(f"sqlite:///{tmp_path}/x.db")
    for durable, synchronous in ((True, 2), (False, 1), (True, 2)):
        with database.write(durable=durable) as tx:
            assert tx.connection.scalar(text("PRAGMA synchronous")) == synchronous
            assert tx.connection.scalar(text("PRAGMA journal_mode")) == "wal"
            assert tx.connection.scalar(text("PRAGMA busy_timeout")) == 30_000
            assert tx.connection.scalar(text("PRAGMA foreign_keys")) == 1
    database.close()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://root:secret@h/d", "begins with mysql://"),
        ("no url", "is malformed"),
        ("sqlite://", "must name a file"),
        ("sqlite:///:memory:", "must name a file"),
    ],
)
def test_refuses_other_databases_without_telling_passwords(url: str, said: str) -> None:
    with pytest.raises(BadSetting, match=said) as caught:
        Database(url)
    assert "secret" not in str(caught.value)
