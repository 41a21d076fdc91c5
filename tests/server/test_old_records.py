"""Records that earlier versions have written are migrated, and read right by today's services.

`records` holds one of each version of the schema, which the services of that time have written: a
job that has ended, one that has failed, one that runs and one that waits; later ones a data set, a
sweep, a token, a session. A version of the schema gets its own when the next one comes.
"""

import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, func, select, text
from tests.server.samples import Rules, held, reap_now, spec, summaries
from tests.server.sweeps.sweeping import Sweeping

from talweg.server.errors import JobNotFound
from talweg.server.services.attempts.reports import Report
from talweg.server.store import stored_datasets
from talweg.server.store.identity import tokens
from talweg.server.store.record import migrate
from talweg.server.store.record.database import Database
from talweg.server.store.record.rows import JobRow
from talweg.server.store.record.schema import jobs, metadata, sweeps
from talweg.server.store.record.scope import acting_in
from talweg.spec.stored import DatasetName
from talweg.v1.jobs_pb2 import Job, Outcome
from talweg.v1.stored_datasets_pb2 import StoredDataset
from talweg.v1.sweeps_pb2 import Sweep

RECORDS = {path.stem: path for path in sorted(Path(__file__).with_name("records").glob("*/*.sql"))}
# Of these `make test` tries SQLite alone: the first, the first with sweeps, the last.
QUICK = ("0001", "0011", "0016")


def cases() -> Iterator[Any]:
    for version in RECORDS:
        for kind in ("sqlite", "postgresql"):
            is_quick = version in QUICK and kind == "sqlite"
            marks = [] if is_quick else [pytest.mark.faults]
            yield pytest.param((kind, version), marks=marks, id=f"{kind}-{version}")


@contextmanager
def empty_postgres(url: str, version: str) -> Iterator[str]:
    """A database of its own beside the tests' usual one."""
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    name = f"old_{version}"
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield url.replace("/postgres?", f"/{name}?")
    with engine.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()


def load(database: Database, version: str) -> None:
    """Make the tables of a version, and fill them with its record."""
    with database.write() as tx:
        migrate.upgrade_to(tx.connection, version)
        is_postgres = tx.connection.dialect.name == "postgresql"
        for line in RECORDS[version].read_text().splitlines():
            # Bytes are written in two ways.
            statement = re.sub(r"x'([0-9a-f]*)'", r"'\\x\1'", line) if is_postgres else line
            tx.connection.exec_driver_sql(statement)
        if is_postgres:
            # Where the next job is numbered, which rows that name their number do not move.
            tx.connection.execute(
                text("SELECT setval(pg_get_serial_sequence('jobs', 'seq'), max(seq)) FROM jobs")
            )


@pytest.fixture
async def old(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[Rules, str]]:
    """Today's services over a record of an earlier version; and that version."""
    kind, version = request.param
    with ExitStack() as stack:
        url = f"sqlite:///{tmp_path}/old.db"
        if kind == "postgresql":
            server = request.getfixturevalue("postgres_url")
            url = stack.enter_context(empty_postgres(server, version))
        database = stack.enter_context(closing(Database(url)))
        load(database, version)
        assert migrate.current(database) == version
        migrate.upgrade(database)
        rules = stack.enter_context(closing(Rules(database, [])))
        yield rules, version
        await rules.statistics.close()
        await rules.search.close()


def only(rules: Rules, *conditions: Any) -> JobRow:
    with rules.database.read() as connection:
        (row,) = connection.execute(select(jobs).where(*conditions))
    return JobRow(*row)


async def job_that_ended(rules: Rules, version: str) -> None:
    row = only(rules, jobs.c.experiment == "old")
    view = await rules.jobs.get(row.name)
    assert (row.state, row.project, row.attempt) == (Job.SUCCEEDED, "default", 1)
    assert dict(row.job_spec.tags) == {"team": "vision"}
    assert row.job_spec.loss.WhichOneof("kind") == "mse"
    assert summaries(rules, row) == {"test/mae": 0.5}
    measured = await rules.jobs.metrics(row.name, include_points=True)
    assert [dict(event.metrics.values) for event in measured.points] == [{"test/mae": 0.5}]
    assert rules.kinds(row) == ["QUEUED", "RUNNING", "metrics", "finished"]
    assert len(rules.attempts(row)) == 1
    assert view.row.outcome is not None
    assert Outcome.FromString(view.row.outcome).state == Job.SUCCEEDED
    failed = only(rules, jobs.c.state == Job.FAILED)
    assert rules.kinds(failed) == ["QUEUED", "RUNNING", "finished"]


async def job_that_ran(rules: Rules, version: str) -> None:
    """Its lease has run out long ago: another worker goes on with it, and the old one may not."""
    row = only(rules, jobs.c.state == Job.RUNNING)
    assert [each.step for each in row.kept] == ([3] if version >= "0002" else [])
    assert row.setbacks == (version >= "0004")
    assert [each.id for each in reap_now(rules.database)] == [row.id]
    claimed = await rules.claim(limit=10)
    again = next(each for each in claimed if each.id == row.id)
    assert (again.attempt, again.lost_attempts) == (2, 1)
    with pytest.raises(Exception, match="lease"):
        await rules.leases.finish(held(row), Outcome(state=Job.SUCCEEDED), Report(1, [], []))
    await rules.leases.finish(held(again), Outcome(state=Job.SUCCEEDED), Report(1, [], []))
    assert rules.get(row).state == Job.SUCCEEDED


async def job_that_waits(rules: Rules, version: str) -> None:
    row = only(rules, jobs.c.state == Job.QUEUED, jobs.c.request_id.is_not(None))
    # The client sends its request again, to the new server.
    assert row.request_id is not None
    assert (await rules.submit(request_id=row.request_id)).id == row.id
    new = await rules.submit(spec(loss="mae"))
    with rules.database.read() as connection:
        assert new.seq == connection.scalar(select(func.max(jobs.c.seq)))


async def data_set(rules: Rules, version: str) -> None:
    with rules.database.read() as connection:
        row = stored_datasets.find(connection, DatasetName("houses"))
    assert row.project == "default"
    assert StoredDataset.FromString(row.info).num_samples == 12


async def sweep(rules: Rules, version: str) -> None:
    with rules.database.read() as connection:
        id_ = connection.scalar(select(sweeps.c.id))
    sweeping = Sweeping(rules, f"sweeps/{id_}")
    assert (await sweeping.get()).state == Sweep.SUCCEEDED
    trials = await sweeping.trials(best_first=True)
    assert [each.label for each in trials] == ["loss=mae", "loss=mse"]
    assert [round(each.value) for each in trials] == [1, 3]
    assert (await sweeping.events())[-1].finished.state == Sweep.SUCCEEDED


async def projects(rules: Rules, version: str) -> None:
    row = only(rules, jobs.c.project == "vision")
    with acting_in("default"), pytest.raises(JobNotFound):
        await rules.jobs.get(row.name)
    with acting_in("vision"):
        assert (await rules.jobs.get(row.name)).row.id == row.id
    with rules.database.read() as connection:
        (token,) = tokens.list_newest(connection, project="vision", now=None, limit=10)
    assert (token.description, len(token.secret_hash)) == ("old laptop", 32)


async def session(rules: Rules, version: str) -> None:
    found = await rules.sessions.get("sessions/tuning")
    assert (found.name, found.error) == ("sessions/tuning", 0.05)


async def data_of_projects(rules: Rules, version: str) -> None:
    """What a project had stored lay at the root of the blob store, for whoever had the same."""
    digest = "cd" * 32
    with acting_in("vision"), rules.database.read() as connection:
        shared = stored_datasets.find(connection, DatasetName("shared"))
        assert (shared.digest, shared.project, shared.stored_in) == (digest, "vision", "default")
        assert stored_datasets.at_root(connection, "vision", [DatasetName("shared", digest)]) == [
            digest
        ]
    with rules.database.write() as tx:
        assert stored_datasets.begin_removing(tx, 10) == [("ef" * 32, "default")]


# What is asked of a record from a version on.
CHECKS: list[tuple[str, Callable[[Rules, str], Any]]] = [
    ("0001", job_that_ended),
    ("0001", job_that_waits),
    ("0001", job_that_ran),
    ("0007", data_set),
    ("0011", sweep),
    ("0012", projects),
    ("0014", session),
    ("0016", data_of_projects),
]


@pytest.mark.parametrize("old", list(cases()), indirect=True)
async def test_an_old_record_is_read_right(old: tuple[Rules, str]) -> None:
    rules, version = old
    assert migrate.current(rules.database) == migrate.latest()
    for since, check in CHECKS:
        if version >= since:
            await check(rules, version)
    with rules.database.read() as connection:
        for table in metadata.sorted_tables:
            connection.execute(select(table).limit(1)).all()
