"""The delivery process: reads a spool, fills MLflow, until it is told to stop."""

import logging
import shutil
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import NoReturn

import grpc

from talweg.spec.local.room import is_full
from talweg.spec.private import make_private_folder
from talweg.worker.channels import Channel, ServerAwayError
from talweg.worker.settings import Settings
from talweg.worker.tracking import spool
from talweg.worker.tracking.backends.backend import Backend, HttpBackend
from talweg.worker.tracking.errors import TrackingAwayError, TrackingError
from talweg.worker.tracking.job_delivery.job import JobDelivery
from talweg.worker.tracking.job_delivery.removal import TRASH_PREFIX
from talweg.worker.tracking.outputs.results import NotYetError
from talweg.worker.tracking.record import Record
from talweg.worker.tracking.removals import Removals
from talweg.worker.tracking.runs import Runs
from talweg.worker.tracking.sweep_delivery.duty import SweepDuty

_PERIOD = 1.0
_REMOVALS_PERIOD = 5.0
_LONGEST_PAUSE = 5.0
_LONGEST_ROUND = 5.0
_LONGEST_JOB_PAUSE = 60.0

log = logging.getLogger(__name__)


class Delivery:
    """Delivers all jobs of a spool, several at once.

    A part that does not answer stops nothing but the delivery: everything stays in the spool, and
    it is tried again after at most five seconds. A job that alone makes trouble waits alone.
    """

    def __init__(self, settings: Settings) -> None:
        """Read nothing yet.

        Args:
            settings: Where spool, server and MLflow are.
        """
        self._spool = settings.spool_dir
        backend = make_backend(settings)
        self._runs = Runs(
            settings.tracking_uri, public_uri=settings.public_tracking_uri, backend=backend
        )
        channel = Channel(settings.address)
        self._record = Record(channel)
        self._sweeps = SweepDuty(self._record, self._runs, channel)
        self._removals = Removals(self._record, self._runs, settings.blobs)
        self._removals_at = 0.0
        self._threads = ThreadPoolExecutor(backend.num_at_once, thread_name_prefix="job")
        self._num_at_once = backend.num_at_once
        self._under_way: dict[Future[bool], Path] = {}
        self._blobs = settings.blobs
        self._wait_seconds = settings.delivery_wait
        self._jobs: dict[Path, JobDelivery] = {}
        self._not_before: dict[Path, tuple[float, float]] = {}
        self._unanswered: dict[Path, float] = {}
        self._away: str | None = None
        self._pause = _PERIOD

    def run(self) -> NoReturn:
        """Deliver until the process ends."""
        make_private_folder(self._spool)
        for left in self._spool.glob(f"{TRASH_PREFIX}*"):
            shutil.rmtree(left, ignore_errors=True)
        while True:
            time.sleep(self.deliver(patience=_PERIOD))
            self._sweeps.begin()
            self._remove_deleted()

    def _remove_deleted(self) -> None:
        """Remove what deleted jobs have left, every few seconds."""
        if time.monotonic() < self._removals_at:
            return
        self._removals_at = time.monotonic() + _REMOVALS_PERIOD
        try:
            self._removals.carry_out()
        except (TrackingError, ServerAwayError, grpc.RpcError) as exc:
            log.info("deleted jobs keep their files for now: %s", exc)

    def close(self, *, patience: float) -> None:
        """Begin nothing more, and wait for what is under way.

        Args:
            patience: How long, in seconds; what takes longer goes on in its thread.
        """
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._sweeps.close()
        wait(self._under_way, patience)

    def deliver(self, *, patience: float | None = None) -> float:
        """Go over all jobs once; where that takes long, over as many as a few seconds allow.

        Args:
            patience: How many seconds to wait for a job that takes long; it goes on beside the
                next round. By default each is waited for.

        Returns:
            How many seconds to wait before the next time.
        """
        started = time.monotonic()
        due = deque(self._due())
        without_turn: list[Path] = []
        away = False
        while due or self._under_way:
            passed = time.monotonic() - started
            may_begin = not away and passed < _LONGEST_ROUND
            while due and may_begin and len(self._under_way) < self._num_at_once:
                self._begin(due.popleft())
            left = None if patience is None else max(0.0, patience - passed)
            done, _ = wait(self._under_way, left, return_when=FIRST_COMPLETED)
            if not done:
                break
            is_turn_over = False
            for future in done:
                folder = self._under_way.pop(future)
                try:
                    self._settle(folder, future)
                    is_turn_over = True
                except NotYetError:
                    without_turn.append(folder)
                except (TrackingAwayError, ServerAwayError) as exc:
                    self._gone(folder, exc)
                    away = True
            if is_turn_over or not self._under_way:
                due.extend(without_turn)
                without_turn.clear()
        if away:
            pause, self._pause = self._pause, min(2 * self._pause, _LONGEST_PAUSE)
            return pause
        if due or self._under_way or without_turn:
            return 0.0
        self._back()
        self._pause = _PERIOD
        return _PERIOD

    def _due(self) -> Iterator[Path]:
        """Return the folders of the jobs to go over, in order."""
        busy = set(self._under_way.values())
        # Jobs under way first: a thousand that have ended must not keep their news.
        for folder in sorted(spool.jobs(self._spool), key=self._order):
            if folder in busy or self._not_before.get(folder, (0.0, 0.0))[0] > time.monotonic():
                continue
            yield folder

    def _order(self, folder: Path) -> tuple[float, bool]:
        # What nobody answered must not keep others, which may need other parts, from their turn.
        return self._unanswered.get(folder, 0.0), folder not in self._jobs

    def _begin(self, folder: Path) -> None:
        if folder not in self._jobs:
            self._jobs[folder] = JobDelivery(
                folder,
                runs=self._runs,
                record=self._record,
                blobs=self._blobs,
                spool=spool.spool_id(self._spool),
                wait_seconds=self._wait_seconds,
            )
        self._under_way[self._threads.submit(self._jobs[folder].advance)] = folder

    def _settle(self, folder: Path, future: Future[bool]) -> None:
        """Take note of what a job's turn has come to.

        Raises:
            NotYetError: It could not be taken to its end, since another job's is not over.
            TrackingAwayError: MLflow did not answer.
            ServerAwayError: The server did not answer.
        """
        try:
            if future.result():
                self._forget(folder)
            else:
                self._not_before.pop(folder, None)
                self._unanswered.pop(folder, None)
        except (NotYetError, TrackingAwayError, ServerAwayError):
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
            if not (isinstance(exc, OSError) and is_full(exc)):
                log.exception("%s", folder.name)
            self._try_later(folder, repr(exc))

    def _forget(self, folder: Path) -> None:
        self._jobs.pop(folder, None)
        self._not_before.pop(folder, None)
        self._unanswered.pop(folder, None)

    def _try_later(self, folder: Path, why: str) -> None:
        _, pause = self._not_before.get(folder, (0.0, _PERIOD / 2))
        pause = min(2 * pause, _LONGEST_JOB_PAUSE)
        log.warning("%s: retrying in %.0f s: %s", folder.name, pause, why)
        self._not_before[folder] = (time.monotonic() + pause, pause)
        # What is in memory may be half done; the state file is not.
        self._jobs.pop(folder, None)

    def _gone(self, folder: Path, error: TrackingAwayError | ServerAwayError) -> None:
        self._unanswered[folder] = time.monotonic()
        if self._away is None:
            self._away = "MLflow" if isinstance(error, TrackingAwayError) else "the server"
            log.warning(
                "%s is unreachable; results wait in %s: %s", self._away, self._spool, error
            )

    def _back(self) -> None:
        if self._away is not None:
            log.info("%s is reachable again; delivery goes on", self._away)
            self._away = None


def make_backend(settings: Settings) -> Backend:
    """Return the way to MLflow: beside its server where its database and files are known."""
    server = HttpBackend(settings.tracking_uri)
    if settings.tracking_database is None or settings.tracking_artifacts is None:
        return server
    # Its tables are code that takes a second to load.
    from talweg.worker.tracking.backends.local import LocalBackend  # noqa: PLC0415

    return LocalBackend(settings.tracking_database, settings.tracking_artifacts, server=server)
