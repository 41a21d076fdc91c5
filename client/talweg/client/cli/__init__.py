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

    Exit status: 0 where all went well; 1 where a job ended otherwise than SUCCEEDED; 2 for wrong
    usage or a wrong spec; 3 where something was not found; 4 where no server was reached; 5 for
    other errors of the server; 6 where a job's state does not allow it, such as to cancel a job
    that has ended; 130 after Ctrl-C.

    Args:
        arguments: In place of the process's.
    """
    from talweg.client.cli._root import run

    sys.exit(run(arguments))


def follow(client: "Client", jobs: Sequence["Job"], *, console: "Console | None" = None) -> bool:
    """Show how jobs come along until all have ended: live bars on a terminal, else plain lines.

    Args:
        client: The client that the jobs came from.
        jobs: The jobs.
        console: Where to; standard output where None.

    Returns:
        Whether all of them SUCCEEDED.

    Raises:
        TalwegError: Where a job could not be watched any further.
    """
    from talweg.client.cli._follow import follow

    return follow(client, jobs, console=console)
