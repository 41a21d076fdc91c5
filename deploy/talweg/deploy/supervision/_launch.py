"""Become another program that dies with its parent. Run as a script, by path, never imported.

    python -I -S _launch.py PARENT_PID PROGRAM [ARGUMENT]...

A service cannot request this itself, since it does not know who starts it; and running a function
between fork and exec is unsafe with threads. The request is specific to Linux; on other systems
the guardian alone ends the process.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Request the signal, check that the parent still lives, and become the program."""
    parent = int(sys.argv[1])
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the parent has gone")
    os.execvp(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
