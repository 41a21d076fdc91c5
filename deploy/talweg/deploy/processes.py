"""Processes that never outlive the one that started them."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import psutil

MARK = "TALWEG_STACK"
"""The variable by which a stack's processes are known: its data folder."""

_HERE = Path(__file__).parent
# Without site packages: a start of some 20 ms.
_SCRIPT = (sys.executable, "-I", "-S")


class Guardian:
    """Starts processes, each leading a group of its own, and sees that none is left behind.

    Three things hold this together: the system kills each started process when this one ends
    (Linux); a guardian process kills whole groups, grandchildren included, when its pipe to this
    process closes; and `end` kills what is left of a group whose leader has died.

    Start processes from one thread that lives as long as they are to live: Linux takes the end of
    the starting thread for the parent's.
    """

    def __init__(self) -> None:
        """Start nothing yet."""
        self._process: subprocess.Popen[str] | None = None
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        """Start the guardian process."""
        self._revive()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Kill every group that was not ended, and wait for the guardian's end."""
        for started in list(self._processes.values()):
            self.end(started)
        process = self._process
        if process is not None and process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            process.wait()

    def start(
        self, command: Sequence[str], *, env: Mapping[str, str], cwd: Path, log: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        """Start a process in a group and session of its own.

        Args:
            command: The program and its arguments.
            env: Its whole environment.
            cwd: Its working folder.
            log: Where its output and errors go.

        Returns:
            The process; its pid is its group's id too.
        """
        process = subprocess.Popen(
            [*_launch(), *command],
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._processes[process.pid] = process
        self._tell(f"+{process.pid}\n")
        return process

    def start_beside(
        self, command: Sequence[str], *, env: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        """Start a process that shares this one's terminal, and with it Ctrl-C.

        Args:
            command: The program and its arguments.
            env: Its whole environment.
        """
        return subprocess.Popen([*_launch(), *command], env=dict(env), stdin=subprocess.DEVNULL)

    def end(self, process: subprocess.Popen[bytes]) -> None:
        """Kill what is left of a process's group, and reaps the process."""
        kill_group(process.pid)
        process.wait()
        del self._processes[process.pid]
        self._tell(f"-{process.pid}\n")

    def watch(self) -> None:
        """Start the guardian process again should somebody have killed it."""
        if self._process is not None and self._process.poll() is not None:
            self._revive()

    def _revive(self) -> None:
        self._process = subprocess.Popen(
            [*_SCRIPT, str(_HERE / "_guardian.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            text=True,
            start_new_session=True,
        )
        for group in self._processes:
            self._tell(f"+{group}\n")

    def _tell(self, line: str) -> None:
        if self._process is None or self._process.stdin is None:
            return
        # A guardian that has just been killed is told again when it is revived.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(line)
            self._process.stdin.flush()


def end_leftovers(folder: Path) -> int:
    """Kill services of an earlier stack in a folder which nobody was left to end.

    Call it with the folder locked, so that no other stack runs there.

    Args:
        folder: Absolute.

    Returns:
        How many processes there were.
    """
    num_ended = 0
    # Started from within a stack of the same folder, this process has its mark.
    own = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    for process in psutil.process_iter():
        if process.pid in own:
            continue
        # Other people's processes do not show their environment.
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == str(folder):
                process.kill()
                num_ended += 1
    return num_ended


def _launch() -> tuple[str, ...]:
    return (*_SCRIPT, str(_HERE / "_launch.py"), str(os.getpid()))


def kill_group(group: int) -> None:
    """Kill every process of a group; none is fine too."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
