"""Programs that run code of others, have processes of their own, and leave none behind.

`run_apart` starts such a program, which calls `live_apart` first. The program goes on in a child
of the process that was started. That process waits for the child, then ends whatever the child has
started, also what has left its session.
"""

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from talweg.worker.confinement import namespaces
from talweg.worker.confinement.confining import MODE
from talweg.worker.confinement.namespaces import Namespaces
from talweg.worker.parents import (
    adopt_orphans,
    die_with_parent,
    go_on_in_child,
    kill_descendants,
)

_OWN = Namespaces.USER | Namespaces.MOUNT | Namespaces.IPC | Namespaces.PID | Namespaces.NETWORK
_SECONDS_APART = 0.02
_MOST_KEPT, _CHUNK = 2**22, 2**16
_SECONDS_TO_READ, _SECONDS_TO_END = 5.0, 5.0


def run_apart(
    arguments: Sequence[str],
    *,
    env: Mapping[str, str],
    seconds: float,
    folder: Path | None = None,
    shows_errors: bool = False,
) -> subprocess.CompletedProcess[bytes]:
    """Run a program of Python that lives apart, and return its status with what it said last.

    Args:
        arguments: Of Python, such as `-m` and a module.
        env: Its environment.
        seconds: How long it may take.
        folder: Where it works; where this process does if None.
        shows_errors: Whether its standard error is this process's.

    Raises:
        subprocess.TimeoutExpired: It took longer; holds what it said until then.
        OSError: It cannot be started.
    """
    process = subprocess.Popen(
        # -P: the working folder must not shadow modules.
        [sys.executable, "-P", *arguments],
        env=env,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=None if shows_errors else subprocess.PIPE,
        start_new_session=True,
    )
    is_late = False
    try:
        output, errors = _Said(process.stdout), _Said(process.stderr)
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        is_late = True
    finally:
        _end(process)
    if is_late:
        raise subprocess.TimeoutExpired(process.args, seconds, output.last())
    return subprocess.CompletedProcess(
        process.args, process.returncode, output.last(), errors.last()
    )


class _Said:
    """Reads what a program says, as it may say more than this process can hold."""

    def __init__(self, stream: IO[bytes] | None) -> None:
        self._stream, self._kept = stream, bytearray()
        self._thread = threading.Thread(target=self._read, name="apart", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        if self._stream is None:
            return
        with self._stream as stream:
            while chunk := os.read(stream.fileno(), _CHUNK):
                self._kept += chunk
                if len(self._kept) > 2 * _MOST_KEPT:
                    del self._kept[:-_MOST_KEPT]

    def last(self) -> bytes:
        """Return the end of it, once the program has ended."""
        # Not for long, should something live on that could say more.
        self._thread.join(_SECONDS_TO_READ)
        return bytes(self._kept[-_MOST_KEPT:])


def live_apart() -> None:
    """Go on in a child, with a network and processes of its own where the system lets it.

    To be called before threads start. This process ends as the child does.
    """
    adopt_orphans()
    own = Namespaces.NONE
    if os.environ.get(MODE, "").lower() != "off":
        own = namespaces.available() & _OWN
    namespaces.enter(own)
    reading, writing = os.pipe()
    first = os.getpid()
    keeper = os.fork()
    if keeper == 0:
        # Its parent has no number in a namespace of its own.
        die_with_parent(0 if own & Namespaces.PID else first)
        os.close(reading)
        if own & Namespaces.PID:
            namespaces.own_processes()
        go_on_in_child(writing)
        return
    os.close(writing)
    with open(reading) as told:
        # Until the last is gone that could tell.
        status = told.read()
    with suppress(ChildProcessError):
        while True:
            kill_descendants(os.getpid())
            os.wait()
    _end_with(int(status) if status else -signal.SIGKILL)


def _end_with(status: int) -> None:
    """End this process as another has ended, by `subprocess`'s number."""
    if status < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with suppress(OSError):
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a program that lives apart with all that it has started, where it has not ended."""
    until = time.monotonic() + _SECONDS_TO_END
    while process.poll() is None:
        # The first process ends by itself once all others have, if the program has not stopped it.
        if not kill_descendants(process.pid) or time.monotonic() > until:
            with suppress(ProcessLookupError):
                # The whole group, which its session is: not all systems tell who started whom.
                os.killpg(process.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_SECONDS_APART)
