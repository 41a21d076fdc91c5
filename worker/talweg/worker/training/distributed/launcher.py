"""Starts and watches the processes that train beside the first one.

They are plain child processes: no launcher that listens on a port stands between. They meet in a
folder that only this user can enter, by files, and what they tell each other is JSON. Each ends
with the process that started it.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from talweg.spec import to_dict
from talweg.v1.jobs_pb2 import Outcome
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.deaths import killed_by
from talweg.worker.errors import WorkerError
from talweg.worker.storage import job_store

MODULE = "talweg.worker.training.distributed.rank"
"""What the processes run, with the arguments FOLDER RANK PARENT_PID."""
SPEC, DEVICE, STORE = "spec.json", "device", "store.json"
"""What a process finds in the folder: the filled spec, its device's type, and the job's store."""
FAILED_STATUS = 3
"""The exit status of a process that has left a `Rank.failure_file`."""

_SECONDS_APART = 0.05
# A broken connection is seen before the end of the process behind it.
_SECONDS_TO_SEE_AN_END = 10.0
_MAX_REASON = 500
# Of Linux, and of macOS.
_LOOPBACK = ("lo", "lo0")


class ProcessLostError(WorkerError):
    """One of the processes that train together has ended before its time."""


class ProcessFailedError(WorkerError):
    """One of the processes that train together has found why the job must fail."""

    def __init__(self, cause: Outcome.Cause.ValueType, message: str) -> None:
        """Take what it found."""
        super().__init__(message)
        self.cause = cause
        """Whose fault it is."""


@dataclass(frozen=True)
class Rank:
    """One of the processes that train together."""

    number: int
    """From 0, the process that has the job."""
    size: int
    """Processes in all."""
    folder: Path
    """Where they meet; nobody else's."""

    @property
    def failure_file(self) -> Path:
        """Where this process leaves why the job must fail."""
        return self.folder / f"failed-{self.number}.json"

    @property
    def log(self) -> Path:
        """Where its output and errors go."""
        return self.folder / f"log-{self.number}"


def listen_on_loopback() -> None:
    """Have gloo and NCCL listen on loopback alone, whatever the environment says.

    Whoever connects to them is not authenticated, and all processes of a job are on one machine.

    Raises:
        RuntimeError: There is no loopback interface.
    """
    names = [name for _, name in socket.if_nameindex()]
    loopback = next((name for name in _LOOPBACK if name in names), None)
    if loopback is None:
        raise RuntimeError(
            f"several processes need the loopback interface, {' or '.join(_LOOPBACK)}, but this "
            f"machine has {', '.join(names) or 'no interface'}"
        )
    os.environ["GLOO_SOCKET_IFNAME"] = loopback
    # "=" stands for this very name, where NCCL would take a bare one for a prefix.
    os.environ["NCCL_SOCKET_IFNAME"] = f"={loopback}"
    # NCCL's monitor would listen for whoever asks.
    os.environ["NCCL_RAS_ENABLE"] = "0"


class Launcher:
    """The processes of the ranks from 1 on, from their start to their end. A context manager.

    Where one of them fails or is killed the others are ended too: whoever waits for them in a
    collective call is told at once, and not after minutes.
    """

    def __init__(self, spec: JobSpec, device: str, folder: Path) -> None:
        """Start nothing yet.

        Args:
            spec: Filled.
            device: The type of device that each trains on.
            folder: Where they meet; empty, and this user's alone.
        """
        self._spec, self._device = spec, device
        size = spec.resources.processes
        self.first = Rank(number=0, size=size, folder=folder)
        """The rank of this process."""
        self._ranks = [Rank(number, size, folder) for number in range(1, size)]
        self._processes: dict[Rank, subprocess.Popen[bytes]] = {}
        self._over, self._ended = threading.Event(), threading.Event()
        self._error: Exception | None = None
        self._watch = threading.Thread(target=self._watch_them, name="launcher", daemon=True)

    def __enter__(self) -> Self:
        """Start and watch them."""
        folder = self.first.folder
        (folder / SPEC).write_text(json.dumps(to_dict(self._spec)))
        (folder / DEVICE).write_text(self._device)
        (folder / STORE).write_text(json.dumps(job_store.current().to_json()))
        try:
            for rank in self._ranks:
                self._processes[rank] = _start(rank)
        except BaseException:
            self._end_all()
            raise
        self._watch.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """End those that still run."""
        self._over.set()
        self._watch.join()
        self._end_all()

    def check(self, *, wait: bool = False) -> None:
        """Raise why a process has ended, if one has.

        Args:
            wait: Whether to wait for a moment, in which such an end may still be seen.

        Raises:
            ProcessLostError: One of them has ended before its time.
            ProcessFailedError: One of them has found why the job must fail.
        """
        if wait:
            self._ended.wait(_SECONDS_TO_SEE_AN_END)
        if self._error is not None:
            raise self._error

    def _watch_them(self) -> None:
        while not self._over.wait(_SECONDS_APART):
            statuses = {rank: process.poll() for rank, process in self._processes.items()}
            # With 0 a process has trained to the end.
            lost = {rank: status for rank, status in statuses.items() if status}
            if lost:
                self._kill_all()
                self._error = _error_of(lost)
            if lost or None not in statuses.values():
                self._ended.set()
                return

    def _kill_all(self) -> None:
        for process in self._processes.values():
            if process.poll() is None:
                # They keep nothing that an orderly end would save.
                os.killpg(process.pid, signal.SIGKILL)

    def _end_all(self) -> None:
        self._kill_all()
        for process in self._processes.values():
            process.wait()
            assert process.stdin is not None
            process.stdin.close()


def _start(rank: Rank) -> subprocess.Popen[bytes]:
    with rank.log.open("wb") as log:
        return subprocess.Popen(
            [
                # -P: the working folder is the user's, and must not shadow modules.
                *(sys.executable, "-P", "-m", MODULE),
                *(str(rank.folder), str(rank.number), str(os.getpid())),
            ],
            # Never written to: it closes when this process ends, however it does.
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            # Ctrl-C is for the first process, which gives the job back.
            start_new_session=True,
        )


def _error_of(lost: dict[Rank, int]) -> Exception:
    """Return what the ends of processes mean.

    Args:
        lost: The statuses of those that had ended when an end was noticed.
    """
    for rank, status in lost.items():
        if status == FAILED_STATUS:
            failure = json.loads(rank.failure_file.read_text())
            return ProcessFailedError(failure["cause"], failure["message"])
    # Those that ended by themselves may only have lost their connection to one that was killed.
    killed = {rank: status for rank, status in lost.items() if status < 0}
    return ProcessLostError(", ".join(_how(*each) for each in (killed or lost).items()))


def _how(rank: Rank, status: int) -> str:
    who = f"the process of rank {rank.number} (of {rank.size})"
    if status < 0:
        return f"{who} was {killed_by(-status)}"
    lines = rank.log.read_text(errors="replace").split("\n")
    reason = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f"{who} ended with status {status}" + (f": {reason[:_MAX_REASON]}" if reason else "")
