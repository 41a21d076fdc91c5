"""The first batch: submit a job file, show the progress of its jobs, and compare them.

    python -m talweg.deploy.batch FILE [--once]

It is an ordinary client of the stack, which it finds by TALWEG_ADDRESS.
"""

import io
import json
import signal
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from types import FrameType

from talweg.client.cli import main as talweg

# Each model and plot takes seconds to arrive.
LINK_SECONDS = 600
# The exit status in a shell of a program ended by Ctrl-C.
INTERRUPTED = 130


def main(arguments: Sequence[str]) -> int:
    """Submit, follow, compare.

    Args:
        arguments: A job file, and ``--once`` to not wait for the results in MLflow.

    Returns:
        0 if every job succeeded, otherwise the status of the failing command.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)
    file, once = arguments[0], "--once" in arguments[1:]
    submitted = io.StringIO()
    # The progress goes to standard error.
    with redirect_stdout(submitted):
        status = _run("submit", file, "--watch", "--json")
    if not submitted.getvalue():
        return status
    names = [job["id"] for job in json.loads(submitted.getvalue())]
    link = () if once else ("--link", "--link-timeout", str(LINK_SECONDS))
    return _run("compare", *names, *link) or status


def _run(*arguments: str) -> int:
    try:
        talweg(arguments)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1


def _end(number: int, frame: FrameType | None) -> None:
    """Exit silently, as the stack is stopping; progress bars are still cleaned up."""
    for other in (signal.SIGINT, signal.SIGTERM):
        signal.signal(other, signal.SIG_IGN)
    raise SystemExit(INTERRUPTED)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
