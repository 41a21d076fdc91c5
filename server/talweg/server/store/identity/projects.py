"""Projects: their quotas, what they have, and whose turn it is."""

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, bindparam, exists, func, select, update

from talweg.server.store.record.database import Transaction
from talweg.server.store.record.inserting import insert_new
from talweg.server.store.record.rows import ProjectRow
from talweg.server.store.record.schema import (
    is_queued,
    is_running,
    jobs,
    projects,
    stored_datasets,
    tokens,
)
from talweg.spec.identity.projects import ALL_PROJECTS
from talweg.spec.states import ENDED
from talweg.v1.stored_datasets_pb2 import StoredDataset

_WAITING = select(projects).where(
    exists().where(
        is_queued, jobs.c.queue == bindparam("queue"), jobs.c.project == projects.c.name
    )
)


def register(tx: Transaction, name: str) -> None:
    """Write a project down, unless it is known."""
    tx.connection.execute(insert_new(tx.connection, projects), {"name": name})


def quotas_of(connection: Connection, name: str) -> ProjectRow:
    """Return the quotas of a project; without any bound where none were set."""
    row = connection.execute(select(projects).where(projects.c.name == name)).first()
    return ProjectRow(name) if row is None else ProjectRow(*row)


def set_quotas(
    tx: Transaction,
    name: str,
    *,
    max_open_jobs: int | None,
    max_running_jobs: int | None,
    max_stored_bytes: int | None,
    max_gpu_hours: float | None = None,
) -> None:
    """Put quotas in the place of those of before; None sets no bound."""
    register(tx, name)
    tx.connection.execute(
        update(projects)
        .where(projects.c.name == name)
        .values(
            max_open_jobs=max_open_jobs,
            max_running_jobs=max_running_jobs,
            max_stored_bytes=max_stored_bytes,
            max_gpu_hours=max_gpu_hours,
        )
    )


def known(connection: Connection) -> Sequence[str]:
    """Return the names of all projects that have quotas, tokens, jobs or data sets."""
    columns = (projects.c.name, tokens.c.project, stored_datasets.c.project)
    names = {name for column in columns for name in connection.scalars(select(column).distinct())}
    return sorted(names - {ALL_PROJECTS})


def open_jobs(connection: Connection, name: str) -> int:
    """Count the jobs of a project that have not ended."""
    statement = select(func.count()).where(
        jobs.c.project == name, jobs.c.state.not_in([int(state) for state in ENDED])
    )
    return connection.scalar(statement) or 0


def running_jobs(connection: Connection) -> dict[str, int]:
    """Count the RUNNING jobs by project; projects without any are missing."""
    statement = select(jobs.c.project, func.count()).where(is_running).group_by(jobs.c.project)
    return {row[0]: row[1] for row in connection.execute(statement)}


def stored_bytes(connection: Connection, name: str) -> int:
    """Sum the sizes of a project's data sets, as they are stored."""
    statement = select(stored_datasets.c.summary).where(stored_datasets.c.project == name)
    summaries = connection.scalars(statement)
    return sum(StoredDataset.FromString(summary).num_bytes for summary in summaries)


def full(connection: Connection) -> Mapping[str, int]:
    """Return the projects that run as many jobs as they may, with that number."""
    bounds = running_bounds(connection)
    running = running_jobs(connection) if bounds else {}
    return {name: most for name, most in bounds.items() if running.get(name, 0) >= most}


def running_bounds(connection: Connection) -> Mapping[str, int]:
    """Return how many jobs projects may run; those without a bound are missing."""
    statement = select(projects.c.name, projects.c.max_running_jobs).where(
        projects.c.max_running_jobs.is_not(None)
    )
    return {row[0]: row[1] for row in connection.execute(statement)}


def waiting(connection: Connection, queue: str) -> list[ProjectRow]:
    """Return the projects with jobs that wait in a queue."""
    rows = connection.execute(_WAITING, {"queue": queue})
    return [ProjectRow(*row) for row in rows]


def had_a_turn(tx: Transaction, name: str) -> None:
    """Note that a project was given a worker while others waited too."""
    tx.connection.execute(
        update(projects).where(projects.c.name == name).values(last_claim=tx.now)
    )
