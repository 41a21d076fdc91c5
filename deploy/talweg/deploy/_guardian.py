"""Kills the process groups it was told of as soon as its standard input ends. Run as a script.

Its standard input is a pipe whose other end only `talweg up` holds. However `up` ends, kill -9
included, the system closes that end, and no service, nor any service's child, is left behind.

A line `+PGID` names a group, `-PGID` takes it back.
"""

import contextlib
import os
import signal
import sys


def main() -> None:
    """Read until the end, then kills."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(ignored, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        group = int(line[1:])
        if line[0] == "+":
            groups.add(group)
        else:
            groups.discard(group)
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main()
