"""No process of a worker outlives the one that started it, however that one ends."""

import ctypes
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

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


def go_on_in_child(writing: int, *closed: int) -> None:
    """Return in a child of this process, which waits for its end, writes how it ended, and ends.

    Meanwhile it takes in what the child leaves behind, where that comes to it.

    Args:
        writing: A pipe, for the status by `subprocess`'s number. The child has it no more.
        closed: Other descriptors that only the child keeps.
    """
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        os.close(writing)
        die_with_parent(parent)
        return
    for descriptor in closed:
        os.close(descriptor)
    while True:
        pid, status = os.wait()
        if pid == child:
            os.write(writing, str(os.waitstatus_to_exitcode(status)).encode())
            os._exit(0)


def end_with_stdin() -> None:
    """End this process once its standard input closes, on systems whose kernel does not.

    For a thread of a process that nobody writes to: whoever started it holds the other end.
    """
    # Not sys.stdin, whose lock the interpreter would wait for at its own end.
    while os.read(0, 1):
        pass
    os._exit(1)


def descendants(pid: int) -> Iterator[tuple[int, int]]:
    """Yield the processes that one has started, with those below them, and how far below.

    Linux only.

    Args:
        pid: Of the first; it adopts those whose parents have ended.
    """
    seen, level, depth = {pid}, [pid], 0
    while level:
        depth += 1
        level = [child for each in level for child in _children(each) if child not in seen]
        seen.update(level)
        for child in level:
            yield child, depth


def kill_descendants(pid: int) -> bool:
    """Kill the processes that one has started, with those below them.

    What one of them starts meanwhile may be missed: call it until there was none.

    Args:
        pid: Of the first, which stays.

    Returns:
        Whether there was any.
    """
    found = [each for each, _ in descendants(pid)]
    for each in found:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(each, signal.SIGKILL)
    return bool(found)


def _children(pid: int) -> list[int]:
    children: list[int] = []
    with suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with suppress(OSError):
                text = Path(f"/proc/{pid}/task/{task}/children").read_text()
                children += map(int, text.split())
    return children
