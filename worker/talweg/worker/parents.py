"""No process of a worker outlives the one that started it, however that one ends."""

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def die_with_parent(parent: int, *, sig: signal.Signals = signal.SIGKILL) -> None:
    """Let the kernel end this process when its parent ends. Linux only; elsewhere do nothing.

    Args:
        parent: The parent's process id, as it was at the start. Where it has ended already, this
            process ends here.
        sig: The signal that ends this process.
    """
    try:
        prctl = ctypes.CDLL(None, use_errno=True).prctl
    except AttributeError:
        return
    prctl(_PR_SET_PDEATHSIG, int(sig))
    # The parent may have ended before the kernel was told; then nobody would send the signal.
    if os.getppid() != parent:
        os.kill(os.getpid(), sig)


def adopt_orphans() -> None:
    """Become the parent of what this process's children leave behind. Linux only."""
    try:
        prctl = ctypes.CDLL(None, use_errno=True).prctl
    except AttributeError:
        return
    prctl(_PR_SET_CHILD_SUBREAPER, 1)


def end_with_stdin() -> None:
    """End this process once its standard input closes, on systems whose kernel does not.

    For a thread of a process that nobody writes to: whoever started it holds the other end.
    """
    # Not sys.stdin, whose lock the interpreter would wait for at its own end.
    while os.read(0, 1):
        pass
    os._exit(1)
