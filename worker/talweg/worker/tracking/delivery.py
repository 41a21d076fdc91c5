"""The delivery process: reads a spool, fills MLflow, until it is told to stop."""

import logging
import shutil
import time
from pathlib import Path
from typing import NoReturn

import grpc

from talweg.worker.channels import Channel, ServerAwayError
from talweg.worker.settings import Settings
from talweg.worker.tracking import spool
from talweg.worker.tracking.errors import TrackingAwayError, TrackingError
from talweg.worker.tracking.job import TRASH_PREFIX, JobDelivery
from talweg.worker.tracking.record import Record
from talweg.worker.tracking.runs import Runs

_PERIOD = 1.0
_LONGEST_PAUSE = 5.0
_LONGEST_ROUND = 5.0
_LONGEST_JOB_PAUSE = 60.0

log = logging.getLogger(__name__)


class Delivery:
    """Delivers all jobs of a spool.

    A part that does not answer stops nothing but the delivery: everything stays in the spool, and
    it is tried again after at most five seconds. A job that alone makes trouble waits alone.
    """

    def __init__(self, settings: Settings) -> None:
        """Read nothing yet.

        Args:
            settings: Where spool, server and MLflow are.
        """
        self._spool = settings.spool_dir
        self._runs = Runs(settings.tracking_uri, public_uri=settings.public_tracking_uri)
        self._record = Record(Channel(settings.address))
        self._jobs: dict[Path, JobDelivery] = {}
        self._not_before: dict[Path, tuple[float, float]] = {}
        self._away: str | None = None
        self._pause = _PERIOD

    def run(self) -> NoReturn:
        """Deliver until the process ends."""
        self._spool.mkdir(parents=True, exist_ok=True)
        for left in self._spool.glob(f"{TRASH_PREFIX}*"):
            shutil.rmtree(left, ignore_errors=True)
        while True:
            time.sleep(self.deliver())

    def deliver(self) -> float:
        """Go over all jobs once; where that takes long, over as many as a few seconds allow.

        Returns:
            How many seconds to wait before the next time.
        """
        started = time.monotonic()
        # Jobs under way first: a thousand that have ended must not keep their news.
        for folder in sorted(spool.jobs(self._spool), key=lambda path: path not in self._jobs):
            if time.monotonic() - started > _LONGEST_ROUND:
                return 0.0
            if self._not_before.get(folder, (0.0, 0.0))[0] > time.monotonic():
                continue
            try:
                self._deliver_job(folder)
            except TrackingAwayError as exc:
                return self._gone("MLflow", str(exc))
            except ServerAwayError as exc:
                return self._gone("the server", str(exc))
        self._pause = _PERIOD
        return _PERIOD

    def _deliver_job(self, folder: Path) -> None:
        if folder not in self._jobs:
            self._jobs[folder] = JobDelivery(folder, runs=self._runs, record=self._record)
        job = self._jobs[folder]
        try:
            if job.advance():
                self._forget(folder)
            else:
                self._not_before.pop(folder, None)
            self._back()
        except (TrackingAwayError, ServerAwayError):
            raise
        except (TrackingError, grpc.RpcError) as exc:
            self._try_later(folder, str(exc))
        except FileNotFoundError:
            # The folder has just been removed by hand.
            if folder.exists():
                raise
            self._forget(folder)
        except Exception as exc:
            # One job's trouble must not keep the others' results.
            log.exception("%s", folder.name)
            self._try_later(folder, repr(exc))

    def _forget(self, folder: Path) -> None:
        self._jobs.pop(folder, None)
        self._not_before.pop(folder, None)

    def _try_later(self, folder: Path, why: str) -> None:
        _, pause = self._not_before.get(folder, (0.0, _PERIOD / 2))
        pause = min(2 * pause, _LONGEST_JOB_PAUSE)
        log.warning("%s: trying again in %.0f s: %s", folder.name, pause, why)
        self._not_before[folder] = (time.monotonic() + pause, pause)
        # What is in memory may be half done; the state file is not.
        self._jobs.pop(folder, None)

    def _gone(self, who: str, why: str) -> float:
        if self._away is None:
            log.warning("%s does not answer; results wait in %s: %s", who, self._spool, why)
        self._away = who
        pause, self._pause = self._pause, min(2 * self._pause, _LONGEST_PAUSE)
        return pause

    def _back(self) -> None:
        if self._away is not None:
            log.info("%s answers again; delivery goes on", self._away)
            self._away = None
