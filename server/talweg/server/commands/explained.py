"""What keeps a command from its work, in words."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import click
from sqlalchemy.exc import DBAPIError

from talweg.server.errors import CannotStart, DatabaseUnavailable

_SQLITE = "sqlite:///"


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
        message = f"TALWEG_DATABASE_URL: {cause or exc}{_help(cause)}"
        raise click.ClickException(message) from exc
    except DBAPIError as exc:
        # It answers, and cannot be used: a file of another kind, a user without rights.
        raise click.ClickException(f"TALWEG_DATABASE_URL: {exc.orig}{_help(exc.orig)}") from exc


def _help(error: object) -> str:
    """Say what to do about a file that SQLite cannot read."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return ""
    url = os.environ.get("TALWEG_DATABASE_URL", "")
    file = f" {url.removeprefix(_SQLITE)}" if url.startswith(_SQLITE) else ""
    return (
        f". The record's file{file} is damaged, or is something else. Keep it aside, and restore "
        "a backup into a new folder with `talweg restore`; without the file, a new record is begun"
    )
