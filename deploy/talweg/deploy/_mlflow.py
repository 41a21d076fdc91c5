"""MLflow's server as one process, where MLflow itself would start another and wait for it.

    python -P -m talweg.deploy._mlflow DATABASE ARGUMENT...

as `mlflow server --backend-store-uri sqlite:///DATABASE --serve-artifacts ARGUMENT...`.

That other one would know nothing of who started the first: should `talweg up` and its guardian die
in one instant, it would live on. Become by exec, it keeps the wish to die with `talweg up`; and
one process of some 200 MB less waits beside it.

A new database is made aside and renamed. MLflow makes its tables in many steps, for seconds; cut
off in between it would refuse what it finds there, at every later start.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from mlflow import cli, server
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

# What MLflow takes for itself where it serves artifacts; its first experiment keeps it.
_ARTIFACTS = "mlflow-artifacts:/"


def become(command: Sequence[str], *, extra_env: Mapping[str, str], **_: Any) -> NoReturn:
    """Takes the place of MLflow's own way of starting its web server.

    Args:
        command: The web server's program and arguments.
        extra_env: Variables in addition to this process's own.
    """
    os.execvpe(command[0], list(command), os.environ | dict(extra_env))


def make_database(path: Path) -> None:
    """Makes MLflow's database, unless it is there: whole, or not at all.

    Args:
        path: Of the SQLite file; its folder is made where it is missing.
    """
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.new")
    for left in path.parent.glob(f"{aside.name}*"):
        left.unlink()
    store = SqlAlchemyStore(f"sqlite:///{aside}", _ARTIFACTS)  # type: ignore[no-untyped-call]
    store.engine.dispose()
    aside.replace(path)


def main() -> None:
    """Makes the database, runs MLflow's command up to its web server, and becomes that."""
    # Without this name MLflow would start a process again: rather an error in the log.
    assert hasattr(server, "_exec_cmd"), "this MLflow starts its web server in another way"
    server._exec_cmd = become
    database, *arguments = sys.argv[1:]
    make_database(Path(database))
    where = ("--backend-store-uri", f"sqlite:///{database}", "--serve-artifacts")
    cli.cli(["server", *where, *arguments], prog_name="mlflow")


if __name__ == "__main__":
    main()
