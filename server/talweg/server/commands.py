"""The subcommands `talweg server` and `talweg db`."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import click
from sqlalchemy.exc import DBAPIError

from talweg.server.errors import CannotStart, DatabaseUnavailable
from talweg.server.limits import raise_file_limit
from talweg.server.settings import Settings
from talweg.server.store.record import migrate
from talweg.server.store.record.database import Database


@click.command()
def server() -> None:
    """Run the server until SIGTERM or Ctrl-C.

    It is configured by TALWEG_* variables alone; see docs/settings.md.
    """
    from talweg.server.serving import serve  # noqa: PLC0415 - `talweg db` needs no gRPC, no Celery

    with _explained():
        settings = Settings.from_env()
        logging.basicConfig(
            level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
        )
        if settings.log_level != "DEBUG":
            # It tells at length of each start that nothing was to be done.
            logging.getLogger("alembic").setLevel(logging.WARNING)
        raise_file_limit()
        asyncio.run(serve(settings))


@click.group()
def db() -> None:
    """Look after the server's database (TALWEG_DATABASE_URL)."""


@db.command()
def upgrade() -> None:
    """Bring the tables to this server's version. The server does so too, at its start."""
    with _database() as database:
        click.echo(f"the database has version {migrate.upgrade(database)}")


@db.command()
def current() -> None:
    """Show the database's version, and the one that this server needs."""
    with _database() as database:
        click.echo(f"database: {migrate.current(database) or 'no tables yet'}")
        click.echo(f"server:   {migrate.latest()}")


@contextmanager
def _database() -> Iterator[Database]:
    with _explained():
        database = Database(Settings.from_env().database_url)
        try:
            yield database
        finally:
            database.close()


@contextmanager
def _explained() -> Iterator[None]:
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
