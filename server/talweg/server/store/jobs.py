"""Job rows: taking them in, finding them, changing them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, update

from talweg.server.errors import JobNotFound
from talweg.server.store import events
from talweg.server.store.identity import projects
from talweg.server.store.record.database import Transaction
from talweg.server.store.record.inserting import insert_new
from talweg.server.store.record.rows import JobRow
from talweg.server.store.record.schema import jobs, links, tags
from talweg.server.store.record.scope import in_project, project_of, scoped_request_id
from talweg.spec import job_name
from talweg.spec.identity.projects import DEFAULT_PROJECT
from talweg.v1.jobs_pb2 import Event, Job, StateChange

# A statement takes so many parameters at the most, and more are no quicker.
_IN_ONE_STATEMENT = 1000


@dataclass(frozen=True)
class NewJob:
    """A job that is about to be taken."""

    id: str
    """Chosen by the server."""

    queue: str
    """Where workers find it."""

    device: str
    """resources.device, by name."""

    priority: int
    """Higher goes first."""

    task: str
    """The member of Task."""

    loss: str
    """The member of Loss."""

    experiment: str
    """The spec's."""

    tags: Mapping[str, str]
    """The spec's."""

    spec: bytes
    """The completed spec, serialised."""

    warnings: bytes
    """A Job that holds nothing but its warnings, serialised."""

    retry_of: str = ""
    """The name of the job that it repeats."""

    request_id: str | None = None
    """Of the caller's choice."""

    request_digest: bytes | None = None
    """Of the request's body."""

    checkpoints: bytes | None = None
    """A Kept: what its first attempt goes on from."""

    links: Sequence[str] = ()
    """The ids of the jobs that its spec refers to."""

    why: str = "submitted"
    """Why it waits, in words."""

    session: str = ""
    """The id of its session; empty where it is of none."""
    first_part: tuple[int, int] | None = None
    """The job, by its `seq`, and the step up to which its metrics are this job's too."""


def insert_jobs(tx: Transaction, new: Sequence[NewJob]) -> dict[str, JobRow]:
    """Take jobs in as QUEUED, each with its first event.

    Args:
        tx: A transaction.
        new: Jobs; no two with the same request_id.

    Returns:
        What was taken, by id. A job is missing there if its request_id is another job's already.
    """
    if not new:
        return {}
    project = project_of(tx.connection) or DEFAULT_PROJECT
    projects.register(tx, project)
    rows = {job.id: _row(job, tx.now, project) for job in new}
    columns = [{name: getattr(row, name) for name in _WRITTEN} for row in rows.values()]
    insertion = insert_new(tx.connection, jobs, ["request_id"])
    taken = {
        row.id: row.seq
        for row in tx.connection.execute(insertion.returning(jobs.c.id, jobs.c.seq), columns)
    }
    rows = {id_: replace(rows[id_], seq=seq) for id_, seq in taken.items()}
    labels = [
        {"job": taken[job.id], "key": key, "value": value}
        for job in new
        if job.id in taken
        for key, value in job.tags.items()
    ]
    if labels:
        tx.connection.execute(insert(tags), labels)
    referring = [
        {"job": taken[job.id], "target": target}
        for job in new
        if job.id in taken
        for target in sorted(set(job.links))
    ]
    if referring:
        tx.connection.execute(insert(links), referring)
    queued = {
        taken[job.id]: Event(state=StateChange(state=Job.QUEUED, reason=job.why))
        for job in new
        if job.id in taken
    }
    for row in rows.values():
        tx.changes.queues.add(row.queue)
    # Nobody can watch a job that nobody knows yet: no need to tell of these events.
    events.insert_first(tx, queued)
    for job in new:
        if job.first_part is not None and job.id in rows:
            row = rows[job.id]
            rows[job.id] = change(tx, row, last_cursor=_with_first_part(tx, row, job.first_part))
    return rows


def _with_first_part(tx: Transaction, row: JobRow, first_part: tuple[int, int]) -> int:
    source, step = first_part
    points = events.points_until(tx.connection, source, step)
    return events.append(tx, row, points)


# What a new job brings, and what is written for it: all but its number, which the table gives.
_BROUGHT = tuple(field.name for field in fields(NewJob) if field.name in jobs.c)
_WRITTEN = tuple(field.name for field in fields(JobRow) if field.name != "seq")


def _row(job: NewJob, now: int, project: str) -> JobRow:
    """Return a new job's row; its number is still to come."""
    row = JobRow(
        seq=0, create_time=now, project=project, **{name: getattr(job, name) for name in _BROUGHT}
    )
    return replace(row, request_id=scoped_request_id(row.request_id or "", project) or None)


_BY_ID = select(jobs).where(jobs.c.id == bindparam("job"))
_LOCK = _BY_ID.with_for_update()


def get(connection: Connection, id_: str) -> JobRow:
    """Find a job.

    Args:
        connection: To read by.
        id_: Its id.

    Raises:
        JobNotFound: There is none.
    """
    row = connection.execute(in_project(connection, _BY_ID, jobs), {"job": id_}).first()
    if row is None:
        raise JobNotFound(job_name(id_))
    return JobRow(*row)


def lock(tx: Transaction, id_: str) -> JobRow:
    """Find a job and keep others from changing it until the transaction ends.

    Args:
        tx: A transaction.
        id_: Its id.

    Raises:
        JobNotFound: There is none.
    """
    row = tx.connection.execute(in_project(tx.connection, _LOCK, jobs), {"job": id_}).first()
    if row is None:
        raise JobNotFound(job_name(id_))
    return JobRow(*row)


def get_many(connection: Connection, ids: Iterable[str]) -> dict[str, JobRow]:
    """Find jobs by id; those that do not exist are missing in the result."""
    wanted = list(ids)
    found: dict[str, JobRow] = {}
    for start in range(0, len(wanted), _IN_ONE_STATEMENT):
        some = wanted[start : start + _IN_ONE_STATEMENT]
        statement = in_project(connection, select(jobs).where(jobs.c.id.in_(some)), jobs)
        for row in connection.execute(statement):
            job = JobRow(*row)
            found[job.id] = job
    return found


def by_request_id(connection: Connection, request_ids: Iterable[str]) -> dict[str, JobRow]:
    """Find jobs of the project by the request_id that they were submitted with."""
    project = project_of(connection)
    by_kept = {scoped_request_id(each, project): each for each in request_ids}
    if not by_kept:
        return {}
    statement = select(jobs).where(jobs.c.request_id.in_(list(by_kept)))
    rows = (JobRow(*row) for row in connection.execute(statement))
    return {by_kept[row.request_id]: row for row in rows if row.request_id is not None}


_CHANGE = update(jobs).where(
    jobs.c.seq == bindparam("read_seq"),
    jobs.c.attempt == bindparam("read_attempt"),
    jobs.c.state == bindparam("read_state"),
)


def change(tx: Transaction, row: JobRow, **values: Any) -> JobRow:
    """Change columns of a locked job.

    The update is conditional on the attempt and the state that were read, so that even a caller
    who forgot the lock cannot overwrite what another has done.

    Args:
        tx: A transaction.
        row: The job as `lock` gave it.
        values: Columns and what they become.

    Returns:
        The job as it is now.
    """
    read = {"read_seq": row.seq, "read_attempt": row.attempt, "read_state": row.state}
    done = tx.connection.execute(_CHANGE, read | values)
    assert done.rowcount == 1, f"job {row.id} was changed without its lock"
    return replace(row, **values)
