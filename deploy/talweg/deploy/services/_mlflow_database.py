"""MLflow's SQLite database: created and upgraded atomically.

MLflow creates its tables in many steps that take seconds. If it is interrupted, it refuses the
incomplete database at every later start. So a new database is created under another name and then
renamed. MLflow also refuses the database of an older version; it is upgraded in a copy, which
replaces it once it is complete.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

import sqlalchemy
from mlflow.store.db import utils as schema

# How many seconds to wait for others that have the database open.
_PATIENCE = 20.0
# MLflow's default when it serves artifacts; its first experiment keeps it.
_ARTIFACTS = "mlflow-artifacts:/"


def make_database(path: Path) -> None:
    """Create MLflow's database atomically, unless it exists.

    Args:
        path: The SQLite file; its folder is created if missing.
    """
    if path.exists():
        return
    from mlflow.store.tracking.sqlalchemy_store import (  # noqa: PLC0415 - takes seconds, once
        SqlAlchemyStore,
    )

    path.parent.mkdir(parents=True, exist_ok=True)
    aside = _aside(path)
    store = SqlAlchemyStore(f"sqlite:///{aside}", _ARTIFACTS)  # type: ignore[no-untyped-call]
    store.engine.dispose()
    aside.replace(path)


def set_up_write_ahead_log(path: Path) -> None:
    """Let readers and a writer of the database not wait for each other.

    Args:
        path: The SQLite file. The mode is kept in it.
    """
    with closing(sqlite3.connect(path, timeout=_PATIENCE)) as database:
        database.execute("PRAGMA journal_mode = WAL")


def upgrade_database(path: Path) -> None:
    """Upgrade the database of an older MLflow atomically.

    The old one is kept as `PATH.REVISION`, with the revision of its schema.

    Args:
        path: The SQLite file.

    Raises:
        Exception: MLflow cannot upgrade it, for example because it is from a newer version. It is
            unchanged.
    """
    engine = sqlalchemy.create_engine(f"sqlite:///{path}")
    revision = schema._get_schema_version(engine)  # type: ignore[no-untyped-call]
    engine.dispose()
    if revision == schema._get_latest_schema_revision():  # type: ignore[no-untyped-call]
        return
    aside = _aside(path)
    with (
        closing(sqlite3.connect(path, timeout=_PATIENCE)) as old,
        closing(sqlite3.connect(aside)) as new,
    ):
        # A log that stayed behind would be taken for the new file's.
        old.execute("PRAGMA journal_mode = DELETE")
        old.backup(new)
    copy = sqlalchemy.create_engine(f"sqlite:///{aside}")
    try:
        schema._upgrade_db(copy)  # type: ignore[no-untyped-call]
    finally:
        copy.dispose()
    backup = path.with_name(f"{path.name}.{revision}")
    backup.unlink(missing_ok=True)
    backup.hardlink_to(path)
    aside.replace(path)


def _aside(path: Path) -> Path:
    """Return the temporary path of a database; remains of earlier attempts are removed."""
    aside = path.with_name(f"{path.name}.new")
    for left in path.parent.glob(f"{aside.name}*"):
        left.unlink()
    return aside
