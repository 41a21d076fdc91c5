"""Which run in MLflow holds a job's results."""

from talweg.server.errors import InvalidRequest
from talweg.server.services.arguments import job_of, text
from talweg.server.store import jobs
from talweg.server.store.database import Database, Transaction
from talweg.v1.jobs_pb2 import TrackingRun

_MAX_RUN_ID_CHARS = 200


class TrackingService:
    """Keeps each job's run. No lease is needed, since delivery outlives the attempt."""

    def __init__(self, database: Database) -> None:
        """Keep the record.

        Args:
            database: The record.
        """
        self._database = database

    async def set_run(self, name: str, *, expected: str, run: TrackingRun) -> TrackingRun:
        """Write a job's run, if the record holds the expected one.

        Args:
            name: Jobs/{id}.
            expected: The run id that the record is believed to hold; empty for none.
            run: What it is to hold.

        Returns:
            What the record holds now: another run where somebody else was first.

        Raises:
            JobNotFound: There is no such job.
            InvalidRequest: The run has no id.
        """
        id_ = job_of(name, field="job")
        text(run.run_id, field="tracking.run_id", most=_MAX_RUN_ID_CHARS, required=True)
        if run.ByteSize() > 10_000:
            raise InvalidRequest.of(
                "tracking", f"must be <= 10,000 bytes, but is {run.ByteSize():,}"
            )
        return await self._database.writing(_set, id_, expected, run)


def _set(tx: Transaction, id_: str, expected: str, run: TrackingRun) -> TrackingRun:
    row = jobs.lock(tx, id_)
    if row.tracking_run_id != expected:
        return TrackingRun.FromString(row.tracking or b"")
    jobs.change(tx, row, tracking_run_id=run.run_id, tracking=run.SerializeToString())
    return run
