"""Who a call is from."""

from contextvars import ContextVar
from dataclasses import dataclass

from talweg.server.errors import InvalidRequest
from talweg.server.identity.methods import Role
from talweg.spec.identity.projects import (
    ALL_PROJECTS,
    DEFAULT_PROJECT,
    PROJECT_METADATA,
    PROJECT_RULE,
    is_project,
)


@dataclass(frozen=True)
class Caller:
    """Who a call is from, and what it may touch."""

    role: Role
    """What the caller may do."""

    project: str = DEFAULT_PROJECT
    """The project that the call acts in."""

    projects: str = ALL_PROJECTS
    """The project that the token is for; "*" stands for all."""

    queues: frozenset[str] = frozenset()
    """The queues that a worker may serve; all if empty."""

    token: str = ""
    """The id of the token, or users/{subject} for a token of an issuer; empty without one, and for
    one of the server's own files."""

    description: str = ""
    """What the token was created for; of an issuer's, by what people know its user."""

    is_authenticated: bool = True
    """Whether the server asked for a token."""

    @property
    def sees_all(self) -> bool:
        """Whether the token is for all projects."""
        return self.projects == ALL_PROJECTS


UNKNOWN = Caller(Role.ADMIN, is_authenticated=False)
"""The caller of a server that asks for no tokens: whoever reaches it may do everything."""

_current: ContextVar[Caller] = ContextVar("caller", default=UNKNOWN)


def checked_project(project: str) -> str:
    """Return a project that a call asks for.

    Args:
        project: As the call's metadata names it.

    Raises:
        InvalidRequest: It cannot be the name of a project.
    """
    if not is_project(project):
        raise InvalidRequest.of(PROJECT_METADATA, f"{PROJECT_RULE}, but got {project[:60]!r}")
    return project


def current_caller() -> Caller:
    """Return who the running call is from."""
    return _current.get()


def set_caller(caller: Caller) -> None:
    """Say who the call that this task serves is from."""
    _current.set(caller)
