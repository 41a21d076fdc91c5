"""Becomes another program that dies with its parent. Run as a script, by path, never imported.

    python -I -S _launch.py PARENT_PID PROGRAM [ARGUMENT]...

A service cannot ask for this by itself, since it knows nothing of who starts it; and a function
run between fork and exec is unsafe beside threads. Where the system has no such request (it is
Linux's), the guardian alone sees to it.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Set the wish, make sure that the parent still lives, and become the program."""
    parent = int(sys.argv[1])
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the parent has gone")
    os.execvp(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
