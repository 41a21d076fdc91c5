"""MLflow's database in SQLite: made, and brought up to date, wholly or not at all.

MLflow makes its tables in many steps, for seconds; cut off in between it would refuse what it
finds there, at every later start. So a new database is made aside and renamed. One of an older
MLflow, which MLflow would refuse too, is brought up to date in a copy, which takes its place once
it is whole.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

import sqlalchemy
from mlflow.store.db import utils as schema

# What MLflow takes for itself where it serves artifacts; its first experiment keeps it.
_ARTIFACTS = "mlflow-artifacts:/"


def make_database(path: Path) -> None:
    """Make MLflow's database, unless it is there: whole, or not at all.

    Args:
        path: Of the SQLite file; its folder is made where it is missing.
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


def upgrade_database(path: Path) -> None:
    """Bring the database of an older MLflow up to date: wholly, or not at all.

    The old one is kept as `PATH.REVISION`, by its schema's revision.

    Args:
        path: Of the SQLite file.

    Raises:
        Exception: MLflow cannot bring it up to date, as where it is a newer MLflow's. It is as it
            was.
    """
    engine = sqlalchemy.create_engine(f"sqlite:///{path}")
    revision = schema._get_schema_version(engine)  # type: ignore[no-untyped-call]
    engine.dispose()
    if revision == schema._get_latest_schema_revision():  # type: ignore[no-untyped-call]
        return
    aside = _aside(path)
    with closing(sqlite3.connect(path)) as old, closing(sqlite3.connect(aside)) as new:
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
    """Return where a database is made; what an earlier try left there is removed."""
    aside = path.with_name(f"{path.name}.new")
    for left in path.parent.glob(f"{aside.name}*"):
        left.unlink()
    return aside
