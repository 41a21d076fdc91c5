"""Which project's rows an operation sees: those of its caller; all for the server's own duties.

The project is of the task that asks: `Database` hands it to the connection, and each statement
that finds jobs, sweeps or data sets by what a caller sent is narrowed by it. So nobody can forget
it on the way, and another project's names are those of nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from sqlalchemy import Connection, Select, Table

from talweg.spec.identity.projects import DEFAULT_PROJECT

OPTION = "talweg_project"
"""The connection's execution option that holds the project."""

_project: ContextVar[str | None] = ContextVar("project", default=None)
# In no request id of a caller: it is a control character.
_DIVIDER = "\x1f"

S = TypeVar("S", bound="Select[tuple[object, ...]]")


def current_project() -> str | None:
    """Return the project that this task acts in; None for all."""
    return _project.get()


def set_project(project: str | None) -> None:
    """Say which project this task, a caller's, acts in; None for all."""
    _project.set(project)


@contextmanager
def acting_in(project: str | None) -> Iterator[None]:
    """Let this task act in a project; None for all."""
    token = _project.set(project)
    try:
        yield
    finally:
        _project.reset(token)


def project_of(connection: Connection) -> str | None:
    """Return the project that an operation acts in; None for all."""
    project: str | None = connection.get_execution_options().get(OPTION)
    return project


def in_project(connection: Connection, statement: S, table: Table) -> S:
    """Narrow a statement to the rows that its operation may see.

    Args:
        connection: Of the operation.
        statement: It selects from the table, among others.
        table: One with a column `project`.
    """
    project = project_of(connection)
    return statement if project is None else statement.where(table.c.project == project)


def scoped_request_id(request_id: str, project: str | None) -> str:
    """Return what the record keeps of a request id: those of two projects never meet."""
    if not request_id or project in (None, DEFAULT_PROJECT):
        return request_id
    return f"{project}{_DIVIDER}{request_id}"
