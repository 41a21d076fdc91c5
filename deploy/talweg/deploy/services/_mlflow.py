"""Run MLflow's server as one process; MLflow itself would start another and wait for it.

    python -P -m talweg.deploy.services._mlflow DATABASE TOKEN_FILE ARGUMENT...

runs `mlflow server --backend-store-uri sqlite:///DATABASE --serve-artifacts ARGUMENT...`, and
lets in the user who runs it and who has the token (`_mlflow_guard.py`). With
TALWEG_PUBLIC_TRACKING_URI another program passes requests on, which may be anybody's: then the
token alone counts.

A second process would not know who started the first: if `talweg up` and its guardian died at the
same time, it would live on. This one keeps the request to die with `talweg up`; it has imported
MLflow once, which takes seconds, and no process of about 200 MB waits for another.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

# Before MLflow, which refuses requests of other sites' pages only in a process that has it.
import uvicorn  # isort: skip
from mlflow import cli, server

from talweg.deploy.services._mlflow_database import (
    make_database,
    set_up_write_ahead_log,
    upgrade_database,
)
from talweg.deploy.services._mlflow_guard import Guard, Message
from talweg.deploy.services._peers import is_of_this_user
from talweg.spec.identity.secrets import read_or_create_secret
from talweg.spec.local.mlflow_access import needs_token


def become(
    command: Sequence[str], *, extra_env: Mapping[str, str], token_file: Path, **_: Any
) -> NoReturn:
    """Replace MLflow's function that starts its web server.

    The web server runs in this process, which has imported MLflow already: that takes seconds.

    Args:
        command: The web server's program and arguments: PYTHON -m uvicorn ARGUMENT...
        extra_env: Variables in addition to this process's own.
        token_file: The file with the token that requests must show; made if it does not exist.
    """
    _python, option, program, *arguments = command
    assert (option, program) == ("-m", "uvicorn"), "this version of MLflow has another web server"
    os.environ.update(extra_env)
    _protect(token_file, arguments)
    # Headers of a proxy would tell another peer than there is, and anybody may send them.
    uvicorn.main([*arguments, "--no-proxy-headers"], prog_name=program)
    sys.exit()


def _protect(token_file: Path, arguments: Sequence[str]) -> None:
    """Put the guard before the application that the web server is about to load."""
    # It reads the environment that MLflow's command has just made.
    from mlflow.server import fastapi_app  # noqa: PLC0415

    assert f"{fastapi_app.__name__}:app" in arguments, "this version of MLflow has another app"
    fastapi_app.app = Guard(
        fastapi_app.app,
        token=read_or_create_secret(token_file),
        token_file=token_file,
        is_own=(lambda _: False) if needs_token() else _is_own,
    )


def _is_own(scope: Message) -> bool:
    client, reached = scope.get("client"), scope.get("server")
    if client is None or reached is None:
        return False
    return is_of_this_user((client[0], client[1]), (reached[0], reached[1]))


def main() -> None:
    """Prepare the database, run MLflow's command up to its web server, and become that."""
    # Without this name MLflow would start a second process: fail with an error in the log instead.
    assert hasattr(server, "_exec_cmd"), "this version of MLflow starts its web server differently"
    database, token_file, *arguments = sys.argv[1:]
    server._exec_cmd = partial(become, token_file=Path(token_file))
    make_database(Path(database))
    upgrade_database(Path(database))
    set_up_write_ahead_log(Path(database))
    where = ("--backend-store-uri", f"sqlite:///{database}", "--serve-artifacts")
    cli.cli(["server", *where, *arguments], prog_name="mlflow")


if __name__ == "__main__":
    main()
