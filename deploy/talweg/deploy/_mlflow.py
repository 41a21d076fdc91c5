"""MLflow's server as one process, where MLflow itself would start another and wait for it.

    python -P -m talweg.deploy._mlflow ARGUMENT...    as `mlflow server ARGUMENT...`

That other one would know nothing of who started the first: should `talweg up` and its guardian die
in one instant, it would live on. Become by exec, it keeps the wish to die with `talweg up`; and
one process of some 200 MB less waits beside it.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from mlflow import cli, server


def become(command: Sequence[str], *, extra_env: Mapping[str, str], **_: Any) -> NoReturn:
    """Takes the place of MLflow's own way of starting its web server.

    Args:
        command: The web server's program and arguments.
        extra_env: Variables in addition to this process's own.
    """
    os.execvpe(command[0], list(command), os.environ | dict(extra_env))


def main() -> None:
    """Runs MLflow's command up to the start of its web server, and becomes that."""
    # Without this name MLflow would start a process again: rather an error in the log.
    assert hasattr(server, "_exec_cmd"), "this MLflow starts its web server in another way"
    server._exec_cmd = become
    cli.cli(["server", *sys.argv[1:]], prog_name="mlflow")


if __name__ == "__main__":
    main()
