"""`talweg db`."""

from collections.abc import Iterator
from contextlib import contextmanager

import click

from talweg.server.commands.explained import explained
from talweg.server.identity.configured import token_key
from talweg.server.identity.methods import Role
from talweg.server.services.tokens import TokenRequest, create_token
from talweg.server.settings import Settings
from talweg.server.store.record import migrate
from talweg.server.store.record.database import Database
from talweg.spec.identity.projects import ALL_PROJECTS


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


@db.command("admin-token")
def admin_token() -> None:
    """Create a token of an admin of all projects, and print it.

    For the first one, or where all are lost. It needs the record (TALWEG_DATABASE_URL) and the key
    of the tokens (TALWEG_TOKEN_KEY_FILE), and no running server.
    """
    with _database() as database:
        key = token_key(Settings.from_env())
        migrate.upgrade(database)
        request = TokenRequest("talweg db admin-token", Role.ADMIN, ALL_PROJECTS)
        with database.write() as tx:
            _, token = create_token(tx, request, key=key, creator="")
        click.echo(token)


@contextmanager
def _database() -> Iterator[Database]:
    with explained():
        database = Database(Settings.from_env().database_url)
        try:
            yield database
        finally:
            database.close()
