"""Processes that never outlive the process that started them."""

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
"""The variable that marks the processes of a stack; its value is the data folder."""

_HERE = Path(__file__).parent
# Without site packages, starting takes about 20 ms.
_SCRIPT = (sys.executable, "-I", "-S")


class Guardian:
    """Start processes, each in a group of its own, and leave none behind.

    Three mechanisms ensure this. The system kills each started process when this one ends (Linux).
    A guardian process kills complete groups, grandchildren included, when its pipe to this process
    closes. `end` kills the rest of a group whose leader has died.

    Start processes from a thread that lives as long as they do: Linux treats the end of the
    starting thread as the end of the parent.
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
        """Kill every remaining group, and wait for the guardian to end."""
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
        """Start a process in its own group and session.

        Args:
            command: The program and its arguments.
            env: Its complete environment.
            cwd: Its working folder.
            log: The file for its output and errors.

        Returns:
            The process; its pid is also the id of its group.
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
        """Start a process that shares the terminal of this one, and so receives Ctrl-C.

        Args:
            command: The program and its arguments.
            env: Its complete environment.
        """
        return subprocess.Popen([*_launch(), *command], env=dict(env), stdin=subprocess.DEVNULL)

    def end(self, process: subprocess.Popen[bytes]) -> None:
        """Kill the rest of the group of a process, and reap the process."""
        kill_group(process.pid)
        process.wait()
        del self._processes[process.pid]
        self._tell(f"-{process.pid}\n")

    def watch(self) -> None:
        """Restart the guardian process if it was killed."""
        if self._process is not None and self._process.poll() is not None:
            # Where the limit of processes is reached, the next look tries again.
            with contextlib.suppress(OSError):
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
        # A guardian that was just killed is told again when it is restarted.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(line)
            self._process.stdin.flush()


def end_leftovers(folder: Path) -> int:
    """Kill remaining services of an earlier stack in a folder.

    Call it with the folder locked, so that no other stack runs there.

    Args:
        folder: The absolute path.

    Returns:
        The number of killed processes.
    """
    num_ended = 0
    # This process has the mark too if it was started from within a stack of the same folder.
    own = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    for process in psutil.process_iter():
        if process.pid in own:
            continue
        # Processes of other users do not reveal their environment.
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == str(folder):
                process.kill()
                num_ended += 1
    return num_ended


def _launch() -> tuple[str, ...]:
    return (*_SCRIPT, str(_HERE / "_launch.py"), str(os.getpid()))


def kill_group(group: int) -> None:
    """Kill every process of a group, if there is any."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
