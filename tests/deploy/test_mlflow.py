"""MLflow's own process: its database is there whole, or not at all."""

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import sqlalchemy
from alembic import command
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from mlflow.store.db import utils as schema
from mlflow.store.tracking.dbmodels.initial_models import Base as InitialBase
from tests._parts import wait_until

from talweg.deploy.services._mlflow_database import set_up_write_ahead_log, upgrade_database

# MLflow's own use of SQLAlchemy.
pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload``:sqlalchemy.exc.SADeprecationWarning"
)


@contextmanager
def serving(database: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = (
        sys.executable,
        "-P",
        "-m",
        "talweg.deploy.services._mlflow",
        str(database),
        str(database.with_name("token")),
        "--port",
        "0",
    )
    process = subprocess.Popen(command)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_start_that_is_cut_off_leaves_no_half_made_database(tmp_path: Path) -> None:
    database = tmp_path / "mlflow/mlflow.db"
    aside = tmp_path / "mlflow/mlflow.db.new"
    with serving(database):
        wait_until(
            lambda: aside.exists() and aside.stat().st_size > 0, timeout=60, what="it has begun"
        )
    assert not database.exists()
    with serving(database):
        wait_until(database.exists, timeout=60, what="it is whole")
        # A reader, and whoever writes beside the server, need not wait for each other.
        wait_until(lambda: journal_mode(database) == "wal", timeout=60, what="it has a log")
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute(
            "SELECT name, artifact_location FROM experiments"
        ).fetchall() == [("Default", "mlflow-artifacts:/0")]
    assert not aside.exists()


def journal_mode(database: Path) -> str:
    with closing(sqlite3.connect(database)) as connection:
        ((mode,),) = connection.execute("PRAGMA journal_mode").fetchall()
        return str(mode)


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's database one step of its schema ago; it is slow to make, and so copied."""
    path = tmp_path_factory.mktemp("older") / "mlflow.db"
    engine = sqlalchemy.create_engine(f"sqlite:///{path}")
    config = schema._get_alembic_config(f"sqlite:///{path}")  # type: ignore[no-untyped-call]
    scripts = ScriptDirectory.from_config(config)
    (head,) = scripts.get_heads()
    script = scripts.get_revision(head)
    assert script is not None
    before = script.down_revision
    assert isinstance(before, str)
    InitialBase.metadata.create_all(engine)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, before)
        connection.execute(
            sqlalchemy.text(
                "INSERT INTO experiments (name, artifact_location, lifecycle_stage, workspace)"
                " VALUES ('mine', 'x', 'active', 'default')"
            )
        )
    engine.dispose()
    return path


@pytest.fixture
def database(older: Path, tmp_path: Path) -> Path:
    """A copy of `older`, alone in the test's folder."""
    return Path(shutil.copy(older, tmp_path / "mlflow.db"))


def revision_of(path: Path) -> str:
    with closing(sqlite3.connect(path)) as connection:
        ((revision,),) = connection.execute("SELECT version_num FROM alembic_version").fetchall()
        return str(revision)


def experiments_of(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [name for (name,) in connection.execute("SELECT name FROM experiments")]


def test_an_older_mlflows_database_is_brought_up_to_date(database: Path, tmp_path: Path) -> None:
    before = revision_of(database)
    upgrade_database(database)
    newest = schema._get_latest_schema_revision()  # type: ignore[no-untyped-call]
    assert revision_of(database) == newest != before
    assert experiments_of(database) == ["mine"]
    kept = tmp_path / f"mlflow.db.{before}"
    assert revision_of(kept) == before
    assert {path.name for path in tmp_path.iterdir()} == {database.name, kept.name}
    # And that once.
    kept.unlink()
    upgrade_database(database)
    assert [path.name for path in tmp_path.iterdir()] == [database.name]


def test_the_log_of_an_older_database_is_not_taken_for_the_new_ones(
    database: Path, tmp_path: Path
) -> None:
    before = revision_of(database)
    set_up_write_ahead_log(database)
    # Ended in mid-air, it has left its log.
    writer = "import os, sqlite3, sys; d = sqlite3.connect(sys.argv[1]); "
    writer += "d.execute(\"UPDATE experiments SET name = 'still mine'\"); d.commit(); os._exit(0)"
    subprocess.run([sys.executable, "-c", writer, str(database)], check=True)
    assert (tmp_path / "mlflow.db-wal").stat().st_size > 0
    upgrade_database(database)
    assert experiments_of(database) == ["still mine"]
    kept = tmp_path / f"mlflow.db.{before}"
    assert {path.name for path in tmp_path.iterdir()} == {database.name, kept.name}
    assert experiments_of(kept) == ["still mine"]


def test_a_database_that_cannot_be_brought_up_to_date_is_left_as_it_is(
    database: Path, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'of the future'")
        connection.commit()
    before = database.read_bytes()
    with pytest.raises(CommandError, match="of the future"):
        upgrade_database(database)
    assert database.read_bytes() == before
    assert not list(tmp_path.glob("mlflow.db.of*"))
