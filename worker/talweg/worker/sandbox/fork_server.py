"""The worker's hold of the process that forks jobs: see `forking`."""

import json
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from talweg.worker.confinement.environment import cleaned
from talweg.worker.confinement.namespaces import Namespaces
from talweg.worker.errors import WorkerError
from talweg.worker.parents import descendants, kill_descendants
from talweg.worker.sandbox import usage

_MODULE = "talweg.worker.sandbox.forking"
_ENDED, _IDLE = "ended", "idle"
# What it takes to import PyTorch on a machine that is busy.
_START_SECONDS = 300.0
_SECONDS_APART = 0.02
_CHUNK = 4096

log = logging.getLogger(__name__)


class ForkServerError(WorkerError):
    """The process that forks jobs does not start, or is gone."""


class ForkServer:
    """One process, started when it is first needed, and again should it be gone.

    It begins one job at a time.
    """

    def __init__(self, passed: Iterable[str] = ()) -> None:
        """Start nothing yet.

        Args:
            passed: Names of variables that jobs get besides those that compute.
        """
        self._passed = tuple(passed)
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._said = b""
        self._has_job = False
        self.namespaces = Namespaces.NONE
        """What jobs have of their own; known once it has started."""
        self.landlock = 0
        """The version of Landlock; known once it has started."""

    def begin(self, folder: Path, job: socket.socket) -> None:
        """Begin a job.

        Args:
            folder: The job's.
            job: Its end of a socket; closed here.

        Raises:
            ForkServerError: It cannot be begun.
        """
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._start()
        assert self._control is not None
        try:
            socket.send_fds(self._control, [os.fsencode(folder)], [job.fileno()])
        except OSError as exc:
            self.close()
            raise ForkServerError(f"the process that begins jobs is gone: {exc}") from exc
        finally:
            job.close()
        self._has_job = True

    def status(self) -> int | None:
        """Return how the job's process has ended, as `subprocess` says it; None while it runs.

        Where nobody can tell it is -SIGKILL.
        """
        self._listen(0)
        for line in self._lines():
            if line.startswith(_ENDED):
                number = line.removeprefix(_ENDED).strip()
                return int(number) if number else -signal.SIGKILL
        if self._process is None or self._process.poll() is not None:
            return -signal.SIGKILL
        return None

    def wait(self, seconds: float) -> int | None:
        """Wait for the end of the job's process; see `status`."""
        until = time.monotonic() + seconds
        while (status := self.status()) is None and time.monotonic() < until:
            self._listen(_SECONDS_APART)
        return status

    def processes(self) -> list[int]:
        """Return the processes of the job, without those that only hold it."""
        if self._process is None:
            return []
        held = 2 if self.namespaces & Namespaces.PID else 1
        found = descendants(self._process.pid)
        return [pid for pid, depth in found if depth > held]

    def end_job(self, seconds: float = 10.0) -> None:
        """End all that the job has started, and wait until it is gone."""
        until = time.monotonic() + seconds
        process = self._process
        if process is None or not self._has_job:
            return
        while process.poll() is None and _IDLE not in self._lines():
            if time.monotonic() > until or not usage.can_see():
                # Whatever is left goes with it, where it has processes of its own.
                self.close()
                return
            kill_descendants(process.pid)
            self._listen(_SECONDS_APART)
        self._said, self._has_job = b"", False

    def close(self) -> None:
        """End the process and what it has started."""
        if self._process is not None:
            kill_descendants(self._process.pid)
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        if self._control is not None:
            self._control.close()
        self._process, self._control = None, None
        self._said, self._has_job = b"", False

    def _start(self) -> None:
        self._control, theirs = socket.socketpair()
        try:
            self._process = subprocess.Popen(
                # -P: the working folder must not shadow modules.
                [sys.executable, "-P", "-m", _MODULE, str(os.getpid())],
                stdin=theirs.fileno(),
                env=cleaned(self._passed) | {"OMP_NUM_THREADS": "1"},
                cwd="/",
                start_new_session=True,
            )
        except OSError as exc:
            self.close()
            raise ForkServerError(
                f"no process can be started for jobs with plug-ins: {exc}"
            ) from exc
        finally:
            theirs.close()
        until = time.monotonic() + _START_SECONDS
        while not self._lines():
            if self._process.poll() is not None or time.monotonic() > until:
                status = self._process.poll()
                self.close()
                raise ForkServerError(
                    f"the process that begins jobs with plug-ins ended with status {status}"
                )
            self._listen(_SECONDS_APART)
        facts = json.loads(self._lines()[0])
        self.namespaces, self.landlock = Namespaces(facts["namespaces"]), facts["landlock"]
        self._said = b""

    def _lines(self) -> list[str]:
        # A line that was cut short is none.
        return self._said.decode().split("\n")[:-1]

    def _listen(self, seconds: float) -> None:
        """Take in what was said, and wait for it where nothing was."""
        if self._control is None:
            return
        ready, _, _ = select.select([self._control], [], [], seconds)
        if ready:
            with suppress(OSError):
                chunk = self._control.recv(_CHUNK)
                self._said += chunk
                if not chunk:
                    time.sleep(_SECONDS_APART)
