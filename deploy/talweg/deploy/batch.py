"""The first batch: submits a job file, shows how its jobs come along, and compares them.

    python -m talweg.deploy.batch FILE [--once]

It is a command line beside the stack, and knows of it what any other would: TALWEG_ADDRESS.
"""

import io
import json
import signal
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from types import FrameType

from talweg.client.cli import main as talweg

# Models and plots take seconds each to arrive.
LINK_SECONDS = 600
# As the shell says it of a program that Ctrl-C ended.
INTERRUPTED = 130


def main(arguments: Sequence[str]) -> int:
    """Submit, follows, compares.

    Args:
        arguments: A job file and, where results in MLflow are not to be waited for, ``--once``.

    Returns:
        0 where every job succeeded, else what the failing command returned.
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
    """End without a word, as the stack is being stopped; whoever draws bars still tidies up."""
    for other in (signal.SIGINT, signal.SIGTERM):
        signal.signal(other, signal.SIG_IGN)
    raise SystemExit(INTERRUPTED)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
