"""Jobs, sweeps and sessions that are not there, or not in the state that a call needs."""

from collections.abc import Sequence

from talweg.server.errors._base import ServerError


class JobNotFound(ServerError):
    """There is no such job."""

    def __init__(self, name: str, *, note: str = "") -> None:
        """Make the error.

        Args:
            name: What was asked for.
            note: What is known of it, such as that it was deleted.
        """
        text = f"there is no job {name!r}"
        super().__init__(f"{text}: {note}" if note else text, metadata={"job": name})


class SweepNotFound(ServerError):
    """There is no such sweep."""

    def __init__(self, name: str) -> None:
        """Make the error, by the name that was asked for."""
        super().__init__(f"there is no sweep {name!r}", metadata={"sweep": name})


class SessionNotFound(ServerError):
    """Nothing has named the session."""

    def __init__(self, name: str) -> None:
        """Name it: sessions/{id}."""
        super().__init__(
            f"there is no {name}: it begins with the first job or sweep with `session`",
            metadata={"session": name},
        )


class JobEnded(ServerError):
    """The job is over."""


class JobNotEnded(ServerError):
    """The job is not over."""


class JobInUse(ServerError):
    """Another job refers to the job that is to be deleted, or a sweep goes on with its result."""

    @classmethod
    def by_jobs(cls, name: str, users: Sequence[str], number: int) -> "JobInUse":
        """Name the users.

        Args:
            name: The job.
            users: The names of some jobs that refer to it.
            number: How many there are.
        """
        some = ", ".join(users) + (", …" if number > len(users) else "")
        who = "another job refers" if number == 1 else f"{number} jobs refer"
        return cls(
            f"{name} cannot be deleted: {who} to it ({some}). Delete "
            f"{'it' if number == 1 else 'them'} first",
            metadata={"job": name},
        )

    @classmethod
    def by_sweep(cls, name: str, sweep: str) -> "JobInUse":
        """Name the sweep that needs the result.

        Args:
            name: The job.
            sweep: The sweep's name.
        """
        return cls(
            f"{name} cannot be deleted: {sweep} goes on with its result. Cancel the sweep, or "
            "delete the job once the sweep has ended",
            metadata={"job": name, "sweep": sweep},
        )


class SweepEnded(ServerError):
    """The sweep is over, or so far that the call comes too late."""


class SessionState(ServerError):
    """The session is open, closed or busy, and the call needs it otherwise."""


class StaleLease(ServerError):
    """The caller does not hold the job any more."""
