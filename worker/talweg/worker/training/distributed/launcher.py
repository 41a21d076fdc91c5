"""Starts and watches the processes that train beside the first one.

They are plain child processes: no launcher that listens on a port stands between. They meet in a
folder that only this user can enter, by files, and what they tell each other is JSON.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from talweg.spec import to_dict
from talweg.v1.spec_pb2 import JobSpec

SPEC, DEVICE, PARENT = "spec.json", "device", "parent"
"""What a process finds in the folder: the filled spec, its device's type, the first's id."""

_SECONDS_TO_END = 10.0
_SECONDS_APART = 0.05
# The libraries by which processes meet listen where these say; NCCL's bootstrap too.
_INTERFACES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")


def failure_file(folder: Path, rank: int) -> Path:
    """Return where a process leaves why the job must fail."""
    return folder / f"failed-{rank}.json"


def listen_on_loopback() -> None:
    """Have the libraries by which processes meet listen on loopback, unless told otherwise."""
    # The machine's name need not lead to an address that it has.
    loopback = next((name for _, name in socket.if_nameindex() if name.startswith("lo")), "lo")
    for variable in _INTERFACES:
        os.environ.setdefault(variable, loopback)


class Launcher:
    """The processes of the ranks from 1 on, from their start to their end.

    Where one of them fails or is killed the others are ended too: whoever waits for them in a
    collective call is told at once, and not after minutes.
    """

    def __init__(self, spec: JobSpec, device: str, folder: Path) -> None:
        """Start them.

        Args:
            spec: Filled.
            device: The type of device that each trains on.
            folder: Where they meet; empty, and this user's alone.
        """
        self._folder = folder
        (folder / SPEC).write_text(json.dumps(to_dict(spec)))
        (folder / DEVICE).write_text(device)
        (folder / PARENT).write_text(str(os.getpid()))
        self._processes = {
            rank: _start(folder, rank) for rank in range(1, spec.resources.processes)
        }
        self._over = threading.Event()
        self._lost: dict[int, int] = {}
        self._watch = threading.Thread(target=self._watch_them, daemon=True)

    def __enter__(self) -> Self:
        """Watch them."""
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

    def lost(self, timeout: float = 0.0) -> str:
        """Say which process ended before its time, and how; empty where none has.

        Args:
            timeout: How long to wait for one to end, in seconds: a broken connection is seen
                before the end of the process behind it.
        """
        self._watch.join(timeout)
        if not self._lost:
            return ""
        rank, status = next(iter(self._lost.items()))
        return f"process {rank + 1} of {len(self._processes) + 1} {_how(status)}"

    def failure(self) -> dict[str, object] | None:
        """Return why the job must fail, as the first process that said so has it."""
        for rank in self._processes:
            file = failure_file(self._folder, rank)
            if file.exists():
                content: dict[str, object] = json.loads(file.read_text())
                return content
        return None

    def _watch_them(self) -> None:
        while not self._over.wait(_SECONDS_APART):
            statuses = {rank: process.poll() for rank, process in self._processes.items()}
            self._lost = {rank: status for rank, status in statuses.items() if status}
            if self._lost:
                self._end_all()
                return

    def _end_all(self) -> None:
        running = [process for process in self._processes.values() if process.poll() is None]
        for process in running:
            process.terminate()
        for process in running:
            try:
                process.wait(_SECONDS_TO_END)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _start(folder: Path, rank: int) -> subprocess.Popen[bytes]:
    with (folder / f"log-{rank}").open("wb") as log:
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "talweg.worker.training.distributed.member"),
                *(str(folder), str(rank)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )


def _how(status: int) -> str:
    if status > 0:
        return f"ended with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"
