"""What a project may have at once."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from talweg.server.errors import InvalidRequest, PermissionDenied, QuotaExceeded
from talweg.server.identity.caller import Caller
from talweg.server.store.identity import gpu_use, projects
from talweg.server.store.record.database import Database
from talweg.server.store.record.rows import ProjectRow
from talweg.server.store.record.scope import project_of
from talweg.spec.identity.projects import DEFAULT_PROJECT, PROJECT_RULE, is_project

_MOST = 2**62
_MOST_HOURS = 1e9


@dataclass(frozen=True)
class ProjectUse:
    """A project, its quotas and what it has."""

    quotas: ProjectRow
    """Its quotas."""

    open_jobs: int
    """Jobs that have not ended."""

    running_jobs: int
    """Jobs that run."""

    stored_bytes: int
    """Bytes of its data sets."""

    gpu_hours: float
    """Hours of GPUs of the last 30 days."""


class QuotaService:
    """Lists and sets the quotas of projects."""

    def __init__(self, database: Database) -> None:
        """Keep the record."""
        self._database = database

    async def projects(self, *, caller: Caller) -> Sequence[ProjectUse]:
        """Return the projects that the caller administers, by name."""

        def read(connection: Connection) -> list[ProjectUse]:
            names = projects.known(connection) if caller.sees_all else [caller.projects]
            return _uses(connection, names)

        return await self._database.reading(read)

    async def update(self, quotas: ProjectRow, *, caller: Caller) -> ProjectUse:
        """Set the quotas of a project, all of them.

        Args:
            quotas: What they become.
            caller: Who sets them.

        Raises:
            PermissionDenied: The caller is not an admin of all projects.
            InvalidRequest: The name cannot be a project's, or a number is too large.
        """
        if not caller.sees_all:
            raise PermissionDenied("quotas are set by an admin of all projects (--project '*')")
        if not is_project(quotas.name):
            raise InvalidRequest.of("name", f"{PROJECT_RULE}, but got {quotas.name[:60]!r}")
        for field in ("max_open_jobs", "max_running_jobs", "max_stored_bytes"):
            value = getattr(quotas, field)
            if value is not None and value > _MOST:
                raise InvalidRequest.of(f"quotas.{field}", f"must be <= {_MOST}, but got {value}")
        hours = quotas.max_gpu_hours
        if hours is not None and not 0 <= hours <= _MOST_HOURS:
            raise InvalidRequest.of(
                "quotas.max_gpu_hours", f"must be >= 0 and <= {_MOST_HOURS:g}, but got {hours:g}"
            )
        await self._database.writing(
            projects.set_quotas,
            quotas.name,
            max_open_jobs=quotas.max_open_jobs,
            max_running_jobs=quotas.max_running_jobs,
            max_stored_bytes=quotas.max_stored_bytes,
            max_gpu_hours=hours,
        )
        (use,) = await self._database.reading(lambda db: _uses(db, [quotas.name]))
        return use


def room_for_jobs(connection: Connection) -> int | None:
    """Return how many more jobs the operation's project may have; None without a bound."""
    name = project_of(connection) or DEFAULT_PROJECT
    most = projects.quotas_of(connection, name).max_open_jobs
    return None if most is None else max(0, most - projects.open_jobs(connection, name))


def no_room_for_jobs(connection: Connection) -> QuotaExceeded:
    """Return the error of a job that the operation's project may not have."""
    name = project_of(connection) or DEFAULT_PROJECT
    most = projects.quotas_of(connection, name).max_open_jobs or 0
    return QuotaExceeded(
        "max_open_jobs", _is_full(name, most, projects.open_jobs(connection, name))
    )


def why_no_jobs(connection: Connection, project: str) -> str:
    """Return why a project may have no more jobs now; empty where it may."""
    most = projects.quotas_of(connection, project).max_open_jobs
    if most is None or (number := projects.open_jobs(connection, project)) < most:
        return ""
    return _is_full(project, most, number)


def _is_full(project: str, most: int, number: int) -> str:
    return (
        f"project {project!r} may have {most:,} jobs that have not ended, and has {number:,}: "
        "wait until some end, or ask an admin for more"
    )


def check_bytes(connection: Connection, num_bytes: int) -> None:
    """Check that the operation's project may store so many bytes more.

    Raises:
        QuotaExceeded: It may not.
    """
    name = project_of(connection) or DEFAULT_PROJECT
    most = projects.quotas_of(connection, name).max_stored_bytes
    if most is None:
        return
    stored = projects.stored_bytes(connection, name)
    if stored + num_bytes > most:
        raise QuotaExceeded(
            "max_stored_bytes",
            f"project {name!r} may store {most:,} bytes of data sets and stores {stored:,}, but "
            f"this file has {num_bytes:,}: remove data sets, or ask an admin for more",
        )


def _uses(connection: Connection, names: Sequence[str]) -> list[ProjectUse]:
    running, hours = projects.running_jobs(connection), gpu_use.used(connection)
    return [
        ProjectUse(
            projects.quotas_of(connection, name),
            projects.open_jobs(connection, name),
            running.get(name, 0),
            projects.stored_bytes(connection, name),
            hours.get(name, 0.0),
        )
        for name in names
    ]
