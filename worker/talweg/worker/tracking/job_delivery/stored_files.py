"""What the delivery writes to the blob store, whether MLflow answers or not."""

from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from talweg.spec import from_dict
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.tracking.attempts import SpooledAttempt
from talweg.worker.tracking.outputs.results import store_artifacts
from talweg.worker.tracking.record import Record


class StoredFiles:
    """The files of one job on their way to the blob store."""

    def __init__(
        self,
        folder: Path,
        *,
        record: Record,
        blobs: str,
        once: Callable[[str, Callable[[], None]], None],
    ) -> None:
        """Touch nothing yet.

        Args:
            folder: The job's folder in the spool.
            record: The server.
            blobs: The blob store's folder or URL.
            once: Takes a named step unless it has been taken.
        """
        self._folder, self._record, self._blobs, self._once = folder, record, blobs, once
        # The last attempt that was looked at without MLflow.
        self._looked_at = 0

    def store(
        self, last: SpooledAttempt, attempts: Collection[SpooledAttempt], spec: JobSpec
    ) -> None:
        """Write what is not there yet.

        Args:
            last: The attempt that ended the job.
            attempts: All that are here.
            spec: Filled.

        Raises:
            NotYetError: Another job's pictures are being drawn; try again later.
            TrackingBusyError: The store does not answer; try again later.
        """
        store_artifacts(last, attempts, spec, blobs=self._blobs, once=self._once)

    def store_without_mlflow(self, numbers: Iterable[int]) -> None:
        """Write what is not there yet of a job that has ended and whose points are not sent yet.

        Args:
            numbers: Of its attempts that are here.

        Raises:
            NotYetError: Another job's pictures are being drawn; try again later.
            TrackingBusyError: The store does not answer; try again later.
            ServerAwayError: The server does not answer.
        """
        # Readers of their own: what has been sent is another question.
        attempts = [SpooledAttempt(self._folder, number) for number in sorted(numbers)]
        if not attempts or attempts[-1].number == self._looked_at:
            return
        last = attempts[-1]
        if last.is_being_written():
            return
        for attempt in attempts:
            attempt.read()
        # Files of a job that was deleted are gone, or about to be.
        if last.final_state and last.begin is not None and self._record.job(self._folder.name):
            self.store(last, attempts, from_dict(last.begin["spec"]))
        self._looked_at = last.number
