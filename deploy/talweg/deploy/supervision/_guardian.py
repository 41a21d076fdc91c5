"""Kill the registered process groups when standard input ends. Run as a script.

Standard input is a pipe whose other end only `talweg up` holds. However `up` ends, even by
kill -9, the system closes that end, and no service and no child of a service is left behind.

A line `+PGID` registers a group, `-PGID` removes it.
"""

import contextlib
import os
import signal
import sys


def main() -> None:
    """Read until the end, then kill."""
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
