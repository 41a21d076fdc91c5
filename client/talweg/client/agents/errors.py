"""Errors as data, which an agent can read and act on."""

from typing import Any

from talweg.client._errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidRequest,
    MissingExtra,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    TalwegError,
    Unavailable,
    WaitTimeout,
    is_passing,
)

_CODES: tuple[tuple[type[Exception], str], ...] = (
    (InvalidRequest, "INVALID_ARGUMENT"),
    (NotFound, "NOT_FOUND"),
    (AlreadyExists, "ALREADY_EXISTS"),
    (FailedPrecondition, "FAILED_PRECONDITION"),
    (PermissionDenied, "PERMISSION_DENIED"),
    (ResourceExhausted, "RESOURCE_EXHAUSTED"),
    (Unavailable, "UNAVAILABLE"),
    (WaitTimeout, "DEADLINE_EXCEEDED"),
    (MissingExtra, "UNIMPLEMENTED"),
    (ValueError, "INVALID_ARGUMENT"),
    (OSError, "INVALID_ARGUMENT"),
)
EXPECTED = (TalwegError, ValueError, OSError)
"""What a tool may raise; all else is a fault of this package."""


def as_data(error: Exception) -> dict[str, Any]:
    """Return what an error says.

    Args:
        error: One of `EXPECTED`.

    Returns:
        `code`, one of gRPC's; `message`; `retry`, whether the same call may succeed later by
        itself; `retry_after_seconds`, where the server says when; `reason` of the server and
        `violations`, each with what was found and what is allowed, where there are such.
    """
    code = next((name for kind, name in _CODES if isinstance(error, kind)), "INTERNAL")
    data: dict[str, Any] = {
        "code": code,
        "message": str(error),
        "retry": isinstance(error, TalwegError) and is_passing(error),
    }
    if (retry_after := getattr(error, "retry_after", None)) is not None:
        data["retry_after_seconds"] = retry_after.total_seconds()
    if reason := getattr(error, "reason", ""):
        data["reason"] = reason
    if violations := getattr(error, "violations", ()):
        data["violations"] = [
            {
                "field": each.field,
                "found": each.found,
                "allowed": each.allowed,
                "hint": each.hint,
            }
            for each in violations
        ]
    return data
