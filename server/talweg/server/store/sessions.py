"""Sessions, what is proposed in them, and their jobs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from sqlalchemy import Connection, insert, select, update

from talweg.server.errors import SessionNotFound
from talweg.server.store.record.database import Transaction
from talweg.server.store.record.inserting import insert_new
from talweg.server.store.record.rows import JobRow
from talweg.server.store.record.schema import jobs, session_jobs, session_proposals, sessions
from talweg.server.store.record.scope import in_project, project_of
from talweg.server.store.record.session_rows import ProposalRow, SessionJobRow, SessionRow
from talweg.spec import session_name
from talweg.spec.identity.projects import DEFAULT_PROJECT

_IN_ONE_STATEMENT = 500


def find(connection: Connection, id_: str) -> SessionRow | None:
    """Find a session; None where nothing has named it."""
    statement = in_project(connection, select(sessions).where(sessions.c.id == id_), sessions)
    row = connection.execute(statement).first()
    return None if row is None else SessionRow(*row)


def get(connection: Connection, id_: str) -> SessionRow:
    """Find a session.

    Args:
        connection: To read by.
        id_: Its id.

    Raises:
        SessionNotFound: Nothing has named it.
    """
    row = find(connection, id_)
    if row is None:
        raise SessionNotFound(session_name(id_))
    return row


def lock(tx: Transaction, id_: str, *, error: float | None = None) -> SessionRow:
    """Find a session and keep others from changing it until the transaction ends.

    Args:
        tx: A transaction.
        id_: Its id.
        error: The budget with which it begins where nothing has named it.

    Raises:
        SessionNotFound: Nothing has named it, and it is not to begin.
    """
    if error is not None:
        values = {
            "id": id_,
            "error": error,
            "create_time": tx.now,
            "project": project_of(tx.connection) or DEFAULT_PROJECT,
            "best": 0,
        }
        tx.connection.execute(insert_new(tx.connection, sessions, ["project", "id"]), values)
    found = select(sessions).where(sessions.c.id == id_)
    found = in_project(tx.connection, found, sessions).with_for_update()
    row = tx.connection.execute(found).first()
    if row is None:
        raise SessionNotFound(session_name(id_))
    return SessionRow(*row)


def change(tx: Transaction, row: SessionRow, **values: Any) -> SessionRow:
    """Change columns of a locked session; return it as it is now."""
    tx.connection.execute(update(sessions).where(sessions.c.seq == row.seq).values(**values))
    return replace(row, **values)


def newest(connection: Connection, *, before: int | None, limit: int) -> list[SessionRow]:
    """List sessions, the newest first.

    Args:
        connection: To read by.
        before: Only those with a lower `seq`.
        limit: At most so many.
    """
    statement = select(sessions).order_by(sessions.c.seq.desc()).limit(limit)
    statement = in_project(connection, statement, sessions)
    if before is not None:
        statement = statement.where(sessions.c.seq < before)
    return [SessionRow(*row) for row in connection.execute(statement)]


def proposals(connection: Connection, session: int) -> list[ProposalRow]:
    """Return what was proposed in a session, in order."""
    statement = (
        select(session_proposals)
        .where(session_proposals.c.session == session)
        .order_by(session_proposals.c.number)
    )
    return [ProposalRow(*row) for row in connection.execute(statement)]


def add_proposal(tx: Transaction, row: ProposalRow) -> None:
    """Write down a proposal; its session is locked."""
    tx.connection.execute(insert(session_proposals), asdict(row))


def change_proposal(tx: Transaction, row: ProposalRow, **values: Any) -> ProposalRow:
    """Change columns of a proposal, whose session is locked; return it as it is now."""
    tx.connection.execute(
        update(session_proposals)
        .where(
            session_proposals.c.session == row.session,
            session_proposals.c.number == row.number,
        )
        .values(**values)
    )
    return replace(row, **values)


def set_first_seed(tx: Transaction, sweep: str, first_seed: int) -> None:
    """Write down where the fresh seeds of a sweep begin; its session is locked."""
    tx.connection.execute(
        update(session_proposals)
        .where(session_proposals.c.sweep == sweep)
        .values(first_seed=first_seed)
    )


def first_seed(connection: Connection, sweep: str) -> int:
    """Return by how much the first fresh seed of a sweep is above its base's; 0 before it."""
    column = session_proposals.c.first_seed
    found = connection.scalar(select(column).where(session_proposals.c.sweep == sweep).limit(1))
    return found or 0


def add_jobs(tx: Transaction, rows: Sequence[SessionJobRow]) -> None:
    """Write down jobs of sessions."""
    if rows:
        tx.connection.execute(insert(session_jobs), [asdict(row) for row in rows])


def jobs_of(connection: Connection, session: int) -> list[SessionJobRow]:
    """Return the jobs of a session."""
    statement = select(session_jobs).where(session_jobs.c.session == session)
    return [SessionJobRow(*row) for row in connection.execute(statement)]


def set_tests(tx: Transaction, session: int, tests: Mapping[str, str]) -> None:
    """Write down which jobs evaluate the weights of jobs, by their ids."""
    for job, test in tests.items():
        tx.connection.execute(
            update(session_jobs)
            .where(session_jobs.c.session == session, session_jobs.c.job == job)
            .values(test=test)
        )


def lock_of_test(tx: Transaction, job: str, test: str) -> int | None:
    """Find the session in which a job is evaluated by another, and lock it.

    Args:
        tx: A transaction.
        job: The id of the job whose weights are evaluated.
        test: The id of the other one.

    Returns:
        The session's `seq`; None where there is none.
    """
    statement = (
        select(sessions.c.seq)
        .join(session_jobs, session_jobs.c.session == sessions.c.seq)
        .where(session_jobs.c.job == job, session_jobs.c.test == test)
    )
    return tx.connection.scalar(statement.with_for_update(of=sessions))


def any_open_test(connection: Connection, session: int) -> bool:
    """Return whether a job that evaluates weights of a session has not ended."""
    statement = (
        select(jobs.c.seq)
        .join(session_jobs, session_jobs.c.test == jobs.c.id)
        .where(session_jobs.c.session == session, jobs.c.end_time.is_(None))
    )
    return connection.execute(statement.limit(1)).first() is not None


def open_session_of(connection: Connection, ids: Iterable[str]) -> str:
    """Return the id of a session that is open and has one of these jobs; empty where none has."""
    wanted = list(ids)
    for start in range(0, len(wanted), _IN_ONE_STATEMENT):
        some = wanted[start : start + _IN_ONE_STATEMENT]
        found = connection.scalar(
            select(sessions.c.id)
            .join(session_jobs, session_jobs.c.session == sessions.c.seq)
            .where(session_jobs.c.job.in_(some), sessions.c.close_time.is_(None))
            .limit(1)
        )
        if found is not None:
            return str(found)
    return ""


def rows_of(connection: Connection, session: int) -> dict[str, JobRow]:
    """Return the jobs of a session by their ids; those that were deleted are missing."""
    statement = (
        select(jobs)
        .join(session_jobs, session_jobs.c.job == jobs.c.id)
        .where(session_jobs.c.session == session)
        .order_by(jobs.c.seq)
    )
    rows = [JobRow(*row) for row in connection.execute(statement)]
    return {row.id: row for row in rows}
