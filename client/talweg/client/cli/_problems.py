"""How errors are told, and which exit status they give."""

import traceback

from talweg.client import (
    BatchError,
    FailedPrecondition,
    InvalidRequest,
    InvalidSpec,
    JobFailed,
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

# Read from the top: the first kind that fits.
_STATUSES: tuple[tuple[type[Exception], int], ...] = (
    (InvalidRequest, USAGE),
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
    """Give the exit status of an error; 5 for those that nobody foresaw."""
    if isinstance(error, BatchError):
        return max(status_of(failure) for _, failure in error.failures)
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), SERVER)


def report(error: Exception) -> int:
    """Tell people of an error on standard error, and give the exit status."""
    if isinstance(error, tuple(kind for kind, _ in _STATUSES)):
        tell(error)
    else:
        # A defect of this program, which its traceback helps to mend.
        say("".join(traceback.format_exception(error)), err=True, end="")
    return status_of(error)


def tell(error: Exception, *, about: str = "") -> None:
    """Tell people of an error on standard error.

    Args:
        error: The error.
        about: What it is about, such as a job's id.
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
    things = "1 thing is wrong" if len(violations) == 1 else f"{len(violations)} things are wrong"
    say(begin + things, err=True)
    for violation in violations:
        say(f"  {violation}", err=True)
