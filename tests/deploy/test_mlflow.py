"""MLflow's own process: its database is there whole, or not at all."""

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tests._parts import wait_until


@contextmanager
def serving(database: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = (sys.executable, "-P", "-m", "talweg.deploy._mlflow", str(database), "--port", "0")
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
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute(
            "SELECT name, artifact_location FROM experiments"
        ).fetchall() == [("Default", "mlflow-artifacts:/0")]
    assert not aside.exists()
