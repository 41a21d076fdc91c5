"""How errors are printed, and their exit statuses."""

import traceback

from talweg.client import (
    BatchError,
    FailedPrecondition,
    InvalidRequest,
    InvalidSpec,
    JobFailed,
    MissingExtra,
    NotFound,
    TalwegError,
    Unavailable,
    WaitTimeout,
)
from talweg.client.cli._common import say

JOB_NOT_SUCCEEDED = 1
USAGE = 2
NOT_FOUND = 3
UNREACHABLE = 4
SERVER = 5
STATE = 6

# The first class that matches applies.
_STATUSES: tuple[tuple[type[Exception], int], ...] = (
    (InvalidRequest, USAGE),
    (MissingExtra, USAGE),
    (NotFound, NOT_FOUND),
    (FailedPrecondition, STATE),
    (Unavailable, UNREACHABLE),
    (JobFailed, JOB_NOT_SUCCEEDED),
    (WaitTimeout, JOB_NOT_SUCCEEDED),
    (TalwegError, SERVER),
    (OSError, USAGE),
    (ValueError, USAGE),
)


def status_of(error: Exception) -> int:
    """Return the exit status of an error; 5 for unexpected ones."""
    if isinstance(error, BatchError):
        return max(status_of(failure) for _, failure in error.failures)
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), SERVER)


def report(error: Exception) -> int:
    """Print an error to standard error and return the exit status."""
    if isinstance(error, tuple(kind for kind, _ in _STATUSES)):
        tell(error)
    else:
        # A bug of this program: the traceback helps to fix it.
        say("".join(traceback.format_exception(error)), err=True, end="")
    return status_of(error)


def tell(error: Exception, *, about: str = "") -> None:
    """Print an error to standard error.

    Args:
        error: The error.
        about: The object concerned, such as the id of a job.
    """
    place = about or (error.source if isinstance(error, InvalidSpec) else "")
    if isinstance(error, OSError) and not isinstance(error, WaitTimeout) and error.filename:
        place, text = str(error.filename), error.strerror or str(error)
    else:
        text = str(error)
    begin = f"error: {place}: " if place else "error: "
    violations = error.violations if isinstance(error, InvalidRequest) else ()
    if not violations:
        say(begin + text, err=True)
        return
    say(f"{begin}{len(violations)} problem{'s' * (len(violations) > 1)}", err=True)
    for violation in violations:
        say(f"  {violation}", err=True)
