"""Hours of GPUs that projects have used: by the day of an attempt's end, and of those that run."""

from collections.abc import Mapping

from sqlalchemy import Connection, and_, func, select, update

from talweg.server.store.record.clock import SECOND, current_time
from talweg.server.store.record.database import Transaction
from talweg.server.store.record.inserting import insert_new
from talweg.server.store.record.rows import AttemptRow
from talweg.server.store.record.schema import attempts, gpu_use, is_running, jobs, projects

PERIOD_DAYS = 30
"""What was used so many days ago counts no more."""

_HOUR = 3600 * SECOND
_DAY = 24 * _HOUR


def add(tx: Transaction, project: str, attempt: AttemptRow) -> None:
    """Count an attempt that ends now.

    Args:
        tx: A transaction.
        project: Of its job.
        attempt: The attempt.
    """
    hours = attempt.gpus * max(0, tx.now - attempt.start_time) / _HOUR
    if not hours:
        return
    key = {"project": project, "day": tx.now // _DAY}
    tx.connection.execute(insert_new(tx.connection, gpu_use), {**key, "hours": 0.0})
    tx.connection.execute(
        update(gpu_use)
        .where(gpu_use.c.project == key["project"], gpu_use.c.day == key["day"])
        .values(hours=gpu_use.c.hours + hours)
    )


def used(connection: Connection) -> Mapping[str, float]:
    """Return the hours that projects have used in the period; those without any are missing."""
    now = connection.scalar(select(current_time())) or 0
    ended = (
        select(gpu_use.c.project, func.sum(gpu_use.c.hours))
        .where(gpu_use.c.day > now // _DAY - PERIOD_DAYS)
        .group_by(gpu_use.c.project)
    )
    hours: dict[str, float] = {row[0]: row[1] for row in connection.execute(ended)}
    running = (
        select(jobs.c.project, attempts.c.gpus, attempts.c.start_time)
        .join(attempts, and_(attempts.c.job == jobs.c.seq, attempts.c.attempt == jobs.c.attempt))
        .where(is_running, attempts.c.gpus > 0)
    )
    for project, gpus, start_time in connection.execute(running):
        since = min(max(0, now - start_time), PERIOD_DAYS * _DAY)
        hours[project] = hours.get(project, 0.0) + gpus * since / _HOUR
    return hours


def exhausted(connection: Connection) -> Mapping[str, float]:
    """Return the projects that have used what they may, with that number of hours."""
    bounds = {
        row[0]: row[1]
        for row in connection.execute(
            select(projects.c.name, projects.c.max_gpu_hours).where(
                projects.c.max_gpu_hours.is_not(None)
            )
        )
    }
    hours = used(connection) if bounds else {}
    return {name: most for name, most in bounds.items() if hours.get(name, 0.0) >= most}
