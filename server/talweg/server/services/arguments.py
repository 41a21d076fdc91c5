"""Checks of single arguments."""

from talweg.server.errors import InvalidRequest
from talweg.spec import has_control, job_id, session_id, sweep_id

MAX_REQUEST_ID_CHARS = 100
MAX_WORKER_CHARS = 200
MAX_QUEUE_CHARS = 100
MAX_REASON_CHARS = 1000
MAX_SPOOL_CHARS = 100


def job_of(name: str, *, field: str = "name") -> str:
    """Return the id in a job's name.

    Args:
        name: `jobs/{id}`.
        field: The argument's path in the request.

    Raises:
        InvalidRequest: It is not a job's name.
    """
    try:
        return job_id(name)
    except ValueError as exc:
        raise InvalidRequest.of(field, str(exc)) from exc


def sweep_of(name: str, *, field: str = "name") -> str:
    """Return the id in a sweep's name.

    Args:
        name: `sweeps/{id}`.
        field: The argument's path in the request.

    Raises:
        InvalidRequest: It is not a sweep's name.
    """
    try:
        return sweep_id(name)
    except ValueError as exc:
        raise InvalidRequest.of(field, str(exc)) from exc


def session_of(name: str, *, field: str = "name") -> str:
    """Return the id in a session's name.

    Args:
        name: `sessions/{id}`.
        field: The argument's path in the request.

    Raises:
        InvalidRequest: It is not a session's name.
    """
    try:
        return session_id(name)
    except ValueError as exc:
        raise InvalidRequest.of(field, str(exc)) from exc


def text(value: str, *, field: str, most: int, required: bool = False) -> str:
    """Check a short text that goes into the record.

    Args:
        value: The text.
        field: The argument's path in the request.
        most: How many characters it may have.
        required: Whether it must have one.

    Raises:
        InvalidRequest: It is too long, or empty, or holds a control character, which a terminal
            would obey and PostgreSQL may not hold.
    """
    if required and not value:
        raise InvalidRequest.of(field, "must not be empty")
    if len(value) > most:
        raise InvalidRequest.of(field, f"must have <= {most} characters, but has {len(value)}")
    if has_control(value):
        raise InvalidRequest.of(
            field, f"must not contain control characters, including line feeds, but got {value!a}"
        )
    return value


def count(value: int, *, field: str, most: int, default: int) -> int:
    """Check a number of things asked for.

    Args:
        value: The number; 0 where the caller leaves it to the service.
        field: The argument's path in the request.
        most: The bound.
        default: What 0 means.

    Raises:
        InvalidRequest: It is negative or above the bound.
    """
    if not 0 <= value <= most:
        raise InvalidRequest.of(field, f"must be >= 0 and <= {most}, but got {value}")
    return value or default
