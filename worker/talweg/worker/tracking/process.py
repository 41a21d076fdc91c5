"""Keeps the delivery process running beside a worker."""

import logging
import os
import subprocess
import sys
import threading

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
_LIVED_LONG = 60.0
# Ended sooner it loses nothing.
_END_WITHIN = 5.0

log = logging.getLogger(__name__)


class DeliveryProcess:
    """Starts `python -m talweg.worker.tracking`, and starts it again should it end."""

    def __init__(self) -> None:
        """Start nothing yet."""
        self._stop = threading.Event()
        # The kernel ends the process with the thread that started it: one thread for its life.
        self._thread = threading.Thread(target=self._keep, name="delivery", daemon=True)

    def start(self) -> None:
        """Start it; at once, without waiting for it."""
        self._thread.start()

    def end_soon(self) -> None:
        """Ask it to end, without waiting for it."""
        self._stop.set()

    def stop(self) -> None:
        """End it, in order where that is quick."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(2 * _END_WITHIN)

    def _keep(self) -> None:
        pause = _FIRST_PAUSE
        while not self._stop.is_set():
            process = subprocess.Popen(
                [sys.executable, "-m", "talweg.worker.tracking", str(os.getpid())],
                stdin=subprocess.DEVNULL,
            )
            lived_long = self._watch(process)
            if self._stop.is_set():
                return
            pause = _FIRST_PAUSE if lived_long else min(2 * pause, _LONGEST_PAUSE)
            log.warning(
                "the delivery process ended with %s; restarting it in %.0f s",
                process.returncode,
                pause,
            )
            self._stop.wait(pause)

    def _watch(self, process: subprocess.Popen[bytes]) -> bool:
        """Wait until it ends, or end it; whether it lived long."""
        lived = 0.0
        while not self._stop.wait(0.5):
            lived += 0.5
            if process.poll() is not None:
                return lived >= _LIVED_LONG
        process.terminate()
        try:
            process.wait(_END_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        return False
