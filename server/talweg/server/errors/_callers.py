"""Callers whom nobody knows, who may not, or who ask for more than they may."""

from datetime import timedelta

from talweg.server.errors._base import ServerError, Unavailable


class Unauthenticated(ServerError):
    """The call carries no token, or none that holds."""


class PermissionDenied(ServerError):
    """The token's role or project does not allow the call."""


class TokenNotFound(ServerError):
    """There is no token of this name among those that the caller may see."""


class QuotaExceeded(ServerError):
    """The project may have no more of something."""

    def __init__(self, quota: str, message: str) -> None:
        """Make the error.

        Args:
            quota: The field of `Quotas`.
            message: Which quota, how much it is, and how much there is.
        """
        super().__init__(message, metadata={"quota": quota})


class MessageTooLarge(ServerError):
    """A request takes more bytes than its method allows."""


class TooManyWatches(ServerError):
    """The caller watches as many jobs at once as one caller may."""


class RateLimited(ServerError):
    """The token makes more calls a second than it may. The call was not begun."""

    def __init__(self, message: str, *, retry_after: timedelta) -> None:
        """Make the error.

        Args:
            message: How many calls there may be, and when to try again.
            retry_after: When there is room for this call, if there are no others.
        """
        super().__init__(message)
        self.retry_after = retry_after


class TooManyCalls(ServerError):
    """Callers of one address have as many calls under way as they may. The call was not begun."""


class CallTooLong(ServerError):
    """The call took longer than any call may, and was cancelled."""


class SlowReader(Unavailable):
    """The caller takes a stream's responses more slowly than it may."""


class SilentCaller(Unavailable):
    """The caller has opened a stream and sends nothing more."""
