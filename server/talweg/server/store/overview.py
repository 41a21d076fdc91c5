"""What the record says of the whole: jobs under way, and results that MLflow does not have yet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, or_, select

from talweg.server.store import queues
from talweg.server.store.record.clock import SECOND
from talweg.server.store.record.schema import is_queued, is_running, jobs
from talweg.server.store.record.scope import in_project
from talweg.spec import job_name
from talweg.v1.jobs_pb2 import Job, TrackingRun

_DAY = 24 * 3600 * SECOND
# Of so many jobs the results are looked for.
_MAX_JOBS = 20_000
_OPEN = or_(is_queued, is_running, jobs.c.state == Job.PAUSED)


@dataclass(frozen=True)
class Backlog:
    """Ended jobs whose results are not all in MLflow."""

    num_jobs: int
    """How many."""

    oldest_seconds: float
    """How long ago the first of them ended; 0 without any."""


def open_jobs(connection: Connection) -> dict[int, int]:
    """Count the jobs that have not ended, by state."""
    counts: dict[int, int] = {}
    statement = select(jobs.c.state, func.count()).where(_OPEN).group_by(jobs.c.state)
    statement = in_project(connection, statement, jobs)
    for state, number in connection.execute(statement):
        counts[state] = number
    return counts


def running(connection: Connection) -> Mapping[str, Sequence[str]]:
    """Return the names of RUNNING jobs by worker."""
    by_worker: dict[str, list[str]] = {}
    statement = select(jobs.c.worker, jobs.c.id).where(is_running).order_by(jobs.c.seq)
    statement = in_project(connection, statement, jobs)
    for worker, id_ in connection.execute(statement):
        by_worker.setdefault(worker, []).append(job_name(id_))
    return by_worker


def backlog(connection: Connection) -> Backlog:
    """Count the jobs of the last day whose results are not all in MLflow."""
    now = queues.now(connection)
    statement = (
        select(jobs.c.end_time, jobs.c.tracking)
        .where(jobs.c.end_time > now - _DAY, jobs.c.attempt > 0)
        .order_by(jobs.c.seq.desc())
        .limit(_MAX_JOBS)
    )
    statement = in_project(connection, statement, jobs)
    ends = [
        end
        for end, tracking in connection.execute(statement)
        if not TrackingRun.FromString(tracking or b"").complete
    ]
    return Backlog(len(ends), (now - min(ends)) / SECOND if ends else 0.0)
