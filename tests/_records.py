"""Records that tests begin with: the tables and no rows, as the migrations leave them."""

import sqlite3
import tempfile
from contextlib import closing
from functools import cache
from pathlib import Path

from talweg.server.store.record import migrate
from talweg.server.store.record.database import Database


def empty_record(path: Path) -> str:
    """Put an empty SQLite record in a file, unless it is there, and return its URL.

    It is a copy: all migrations take most of a server's start.
    """
    if not path.exists():
        path.touch(0o600)
        path.write_bytes(_empty())
    return f"sqlite:///{path}"


@cache
def _empty() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "empty.db"
        database = Database(f"sqlite:///{path}")
        migrate.upgrade(database)
        database.close()
        with closing(sqlite3.connect(path)) as connection:
            # What is still in the log would not be copied.
            assert connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
        return path.read_bytes()
