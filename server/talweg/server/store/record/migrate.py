"""Brings the database's tables to the version that this server needs."""

from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from talweg.server.errors import CannotStart
from talweg.server.store.record.database import Database

# Any number will do, as long as it is always the same one.
_ADVISORY_LOCK = 7_205_759_403


def upgrade(database: Database) -> str:
    """Run the migrations that are due, in one transaction.

    Several servers may start at once: the transaction is a writer from its beginning on SQLite,
    and holds an advisory lock on PostgreSQL, so one of them migrates and the others wait.

    Args:
        database: Where.

    Returns:
        The version that the database has now.

    Raises:
        CannotStart: The database is of a later version of the server.
        DatabaseUnavailable: It does not answer.
    """
    scripts = _scripts()
    with database.write() as tx:
        if tx.connection.dialect.name == "postgresql":
            # Another server may migrate now, and a large table takes its time.
            tx.connection.execute(text("SET LOCAL statement_timeout = 0"))
            tx.connection.execute(text(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})"))
        version = _version(tx.connection)
        known = {script.revision for script in scripts.walk_revisions()}
        if version is not None and version not in known:
            raise CannotStart(
                f"the database has version {version}, which this server does not know: a newer "
                "server has used it. This server knows versions up to "
                f"{scripts.get_current_head()}"
            )
        head = latest()
        if version != head:
            upgrade_to(tx.connection, "head")
            version = _version(tx.connection)
    assert version == head
    return head


def upgrade_to(connection: Connection, version: str) -> None:
    """Run the migrations up to a version.

    Args:
        connection: In a writing transaction.
        version: Such as "0001", or "head" for the latest.
    """
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, version)


def current(database: Database) -> str | None:
    """Return the database's version; None where it has no tables yet.

    Raises:
        DatabaseUnavailable: It does not answer.
    """
    with database.read() as connection:
        return _version(connection)


def latest() -> str:
    """Return the version that this server brings a database to."""
    head = _scripts().get_current_head()
    assert head is not None
    return head


def _config() -> Config:
    config = Config()
    # Alembic's settings give "%" a meaning.
    folder = str(Path(__file__).parent / "migrations").replace("%", "%%")
    config.set_main_option("script_location", folder)
    config.set_main_option("path_separator", "os")
    return config


@cache
def _scripts() -> ScriptDirectory:
    # It reads and runs the file of each migration.
    return ScriptDirectory.from_config(_config())


def _version(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()
