"""The quotas of projects, and what projects have."""

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, delete, func, insert, select

from talweg.server.store.record.database import Transaction
from talweg.server.store.record.rows import ProjectRow
from talweg.server.store.record.schema import (
    is_running,
    jobs,
    projects,
    stored_datasets,
    tokens,
)
from talweg.spec.projects import ALL_PROJECTS
from talweg.spec.states import ENDED
from talweg.v1.stored_datasets_pb2 import StoredDataset


def quotas_of(connection: Connection, name: str) -> ProjectRow:
    """Return the quotas of a project; without any bound where none were set."""
    row = connection.execute(select(projects).where(projects.c.name == name)).first()
    return ProjectRow(name) if row is None else ProjectRow(*row)


def set_quotas(tx: Transaction, row: ProjectRow) -> None:
    """Put quotas in the place of those of before."""
    tx.connection.execute(delete(projects).where(projects.c.name == row.name))
    tx.connection.execute(insert(projects).values(**vars(row)))


def known(connection: Connection) -> Sequence[str]:
    """Return the names of all projects that have quotas, tokens, jobs or data sets."""
    columns = (projects.c.name, tokens.c.project, jobs.c.project, stored_datasets.c.project)
    names = {name for column in columns for name in connection.scalars(select(column).distinct())}
    return sorted(names - {ALL_PROJECTS})


def open_jobs(connection: Connection, name: str) -> int:
    """Count the jobs of a project that have not ended."""
    statement = select(func.count()).where(
        jobs.c.project == name, jobs.c.state.not_in([int(state) for state in ENDED])
    )
    return connection.scalar(statement) or 0


def running_jobs(connection: Connection) -> Mapping[str, int]:
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
    bounded = select(projects.c.name, projects.c.max_running_jobs).where(
        projects.c.max_running_jobs.is_not(None)
    )
    bounds = {row[0]: row[1] for row in connection.execute(bounded)}
    if not bounds:
        return {}
    running = running_jobs(connection)
    return {name: most for name, most in bounds.items() if running.get(name, 0) >= most}


def has_bounds(connection: Connection) -> bool:
    """Return whether any project may run a bounded number of jobs."""
    statement = select(projects.c.name).where(projects.c.max_running_jobs.is_not(None)).limit(1)
    return connection.execute(statement).first() is not None
