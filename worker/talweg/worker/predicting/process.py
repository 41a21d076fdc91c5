"""Starts a process for a prediction, one at a time, from the worker's parent."""

import json
import logging
import os
import subprocess
import sys
import threading
import time

from talweg.spec.broker import PredictArguments

# The process keeps the limit itself, and needs time to start and to report.
_GRACE_SECONDS = 10.0
_BUSY = "it is predicting for another caller"

log = logging.getLogger(__name__)


class PredictingProcess:
    """Runs `python -m talweg.worker.predicting` for one prediction at a time.

    One at a time bounds what predictions take from the jobs of this machine.
    """

    def __init__(self, worker: str) -> None:
        """Start nothing yet.

        Args:
            worker: The worker's name.
        """
        self._worker = worker
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def why_busy(self) -> str:
        """Say why no prediction can be started now; empty where one can."""
        thread = self._thread
        return _BUSY if thread is not None and thread.is_alive() else ""

    def start(self, arguments: PredictArguments) -> str:
        """Start a prediction and return at once; say why not where one is running.

        Args:
            arguments: From the server.
        """
        with self._lock:
            if why := self.why_busy():
                return why
            # The kernel ends the process with the thread that started it.
            self._thread = threading.Thread(
                target=self._run, args=(arguments,), name="predicting", daemon=True
            )
            self._thread.start()
        return ""

    def _run(self, arguments: PredictArguments) -> None:
        # What it takes to start counts as well; the clock is one for all processes of a machine.
        until = time.monotonic() + arguments["seconds"]
        try:
            process = subprocess.Popen(
                # -P: the working folder must not shadow modules.
                [sys.executable, "-P", "-m", "talweg.worker.predicting", str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                text=True,
            )
        except OSError as exc:
            log.error("no process can be started for a prediction: %s", exc)
            return
        try:
            # Not as arguments, which everybody on this machine can read.
            process.communicate(
                json.dumps({**arguments, "until": until, "worker": self._worker}),
                timeout=arguments["seconds"] + _GRACE_SECONDS,
            )
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        if process.returncode:
            log.warning("the process of a prediction ended with %s", process.returncode)
