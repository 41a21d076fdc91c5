"""What keeps a command from its work, in words."""

from collections.abc import Iterator
from contextlib import contextmanager

import click
from sqlalchemy.exc import DBAPIError

from talweg.server.errors import CannotStart, DatabaseUnavailable


@contextmanager
def explained() -> Iterator[None]:
    """Turn what a command's user can mend into one line."""
    try:
        yield
    except CannotStart as exc:
        raise click.ClickException(str(exc)) from exc
    except DatabaseUnavailable as exc:
        # The driver's own words, which callers over the wire are not given.
        cause = getattr(exc.__cause__, "orig", None)
        raise click.ClickException(f"TALWEG_DATABASE_URL: {cause or exc}") from exc
    except DBAPIError as exc:
        # It answers, and cannot be used: a file of another kind, a user without rights.
        raise click.ClickException(f"TALWEG_DATABASE_URL: {exc.orig}") from exc
