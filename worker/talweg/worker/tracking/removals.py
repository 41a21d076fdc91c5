"""Remove what deleted jobs have left: their files in the blob store, and their runs in MLflow."""

import logging

from talweg.blobs import remove_job
from talweg.spec import is_job_id, is_tracking_id, job_id
from talweg.spec.identity.projects import DEFAULT_PROJECT
from talweg.v1.workers_pb2 import Removal
from talweg.worker.tracking.errors import RunGoneError, TrackingError
from talweg.worker.tracking.record import Record
from talweg.worker.tracking.runs import Runs

log = logging.getLogger(__name__)


class Removals:
    """Carries out the removals that the server lists.

    Each may be cut short at any point, and taken by several workers at once: the server lists it
    until it is done, and to remove what is gone is no error.
    """

    def __init__(self, record: Record, runs: Runs, blobs: str) -> None:
        """Touch nothing yet.

        Args:
            record: The server.
            runs: MLflow.
            blobs: The blob store's folder or URL.
        """
        self._record, self._runs, self._blobs = record, runs, blobs

    def carry_out(self) -> int:
        """Remove what the server lists, up to a hundred jobs, and return how many are done.

        Raises:
            ServerAwayError: The server does not answer.
            TrackingAwayError: MLflow does not answer.
        """
        done = 0
        for removal in self._record.removals():
            done += self._remove(removal)
        return done

    def _remove(self, removal: Removal) -> bool:
        id_ = job_id(removal.job)
        if not is_job_id(id_):
            log.error("%a is not a job's name: nothing is removed", removal.job[:200])
            return False
        try:
            self._remove_run(id_, removal.run_id)
            remove_job(self._blobs, removal.project or DEFAULT_PROJECT, removal.job)
        except (OSError, ImportError, ValueError) as exc:
            log.warning("%s was deleted, but its files stay for now: %s", removal.job, exc)
            return False
        self._record.finish_removal(id_)
        log.info("%s was deleted: its files and its run are gone", removal.job)
        return True

    def _remove_run(self, id_: str, run_id: str) -> None:
        if not run_id or not is_tracking_id(run_id):
            return
        try:
            self._runs.erase(run_id, job_id=id_)
        except RunGoneError:
            # A person was first.
            return
        except TrackingError as exc:
            raise OSError(str(exc)) from exc
