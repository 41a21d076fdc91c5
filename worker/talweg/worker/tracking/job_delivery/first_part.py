"""The first part of a job that another one trained: its points belong in this job's run too."""

from collections.abc import Iterator

from talweg.spec import job_name
from talweg.worker.tracking.job_delivery.state import DeliveryState
from talweg.worker.tracking.record import Record
from talweg.worker.tracking.runs import Runs
from talweg.worker.tracking.spool import Point


def send_first_part(job_id: str, *, state: DeliveryState, runs: Runs, record: Record) -> None:
    """Send what a job has taken over from the shorter one that it goes on from.

    It stands in the record of this job, so that the run of the other one may be gone. What the run
    holds already is not sent again, whoever sent it and however much of it.

    Args:
        job_id: Without `jobs/`.
        state: Of the job's delivery; the highest steps sent are written into it.
        runs: MLflow.
        record: The server.
    """
    high = state.high_water | runs.high_water(state.run_id)
    points = list(_unsent(record, job_id, high))
    runs.log(state.run_id, points=points)
    state.high_water = high


def _unsent(record: Record, job_id: str, high: dict[str, int]) -> Iterator[Point]:
    """Yield points beyond the highest step of each metric, and raise it."""
    for step, time_ms, values in sorted(record.first_part(job_name(job_id)), key=lambda p: p[:2]):
        new = {name: value for name, value in values.items() if step > high.get(name, -1)}
        high.update(dict.fromkeys(new, step))
        if new:
            yield step, time_ms, new
