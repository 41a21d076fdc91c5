"""The command `talweg`."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from rich.console import Console

    from talweg.client import Client, Job

__all__ = ["follow", "main"]


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and end the process.

    Exit status: 0 success; 1 a job did not end as SUCCEEDED; 2 wrong usage or an invalid spec; 3
    not found; 4 no server reached; 5 another error of the server; 6 the state of the job does not
    allow the command, such as cancelling a job that has ended; 130 after Ctrl-C.

    Args:
        arguments: The command line; that of the process if None.
    """
    from talweg.client.cli._root import run

    sys.exit(run(arguments))


def follow(client: "Client", jobs: Sequence["Job"], *, console: "Console | None" = None) -> bool:
    """Show the progress of jobs until all have ended: live bars on a terminal, otherwise lines.

    Args:
        client: The client that the jobs came from.
        jobs: The jobs.
        console: Where to print; standard output if None.

    Returns:
        Whether all of them SUCCEEDED.

    Raises:
        TalwegError: A job can no longer be watched.
    """
    from talweg.client.cli.progress.follow import follow

    return follow(client, jobs, console=console)
