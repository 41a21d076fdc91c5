"""The errors of callers who ask for more, or faster, than one of them may; see `errors`."""

from datetime import timedelta

from talweg.server.errors import ServerError, Unavailable


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


class SlowReader(Unavailable):
    """The caller takes a stream's responses more slowly than it may."""


class SilentCaller(Unavailable):
    """The caller has opened a stream and sends nothing more."""


class CallTooLong(ServerError):
    """The call took longer than any call may, and was cancelled."""
