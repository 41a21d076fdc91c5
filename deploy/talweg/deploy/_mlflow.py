"""MLflow's server as one process, where MLflow itself would start another and wait for it.

    python -P -m talweg.deploy._mlflow DATABASE ARGUMENT...

as `mlflow server --backend-store-uri sqlite:///DATABASE --serve-artifacts ARGUMENT...`.

That other one would know nothing of who started the first: should `talweg up` and its guardian die
in one instant, it would live on. Become by exec, it keeps the wish to die with `talweg up`; and
one process of some 200 MB less waits beside it.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from mlflow import cli, server

from talweg.deploy._mlflow_database import make_database, upgrade_database


def become(command: Sequence[str], *, extra_env: Mapping[str, str], **_: Any) -> NoReturn:
    """Take the place of MLflow's own way of starting its web server.

    Args:
        command: The web server's program and arguments.
        extra_env: Variables in addition to this process's own.
    """
    os.execvpe(command[0], list(command), os.environ | dict(extra_env))


def main() -> None:
    """See to the database, run MLflow's command up to its web server, and become that."""
    # Without this name MLflow would start a process again: rather an error in the log.
    assert hasattr(server, "_exec_cmd"), "this MLflow starts its web server in another way"
    server._exec_cmd = become
    database, *arguments = sys.argv[1:]
    make_database(Path(database))
    upgrade_database(Path(database))
    where = ("--backend-store-uri", f"sqlite:///{database}", "--serve-artifacts")
    cli.cli(["server", *where, *arguments], prog_name="mlflow")


if __name__ == "__main__":
    main()
