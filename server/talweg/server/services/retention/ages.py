"""How old is old."""

from datetime import timedelta

from talweg.server.errors import InvalidRequest

_MAX_AGE = timedelta(days=36_500)


def check_age(older_than: timedelta) -> None:
    """Check an age that somebody names.

    Raises:
        InvalidRequest: It is out of bounds.
    """
    if not timedelta(0) <= older_than <= _MAX_AGE:
        raise InvalidRequest.of(
            "older_than", f"must be >= 0 s and <= {_MAX_AGE.days} days, but got {older_than}"
        )
