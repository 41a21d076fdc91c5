"""Summaries of a session's sweeps, which tell of its tests."""

from talweg.server.store import sessions
from talweg.server.store.record.database import Transaction
from talweg.server.store.record.rows import JobRow
from talweg.server.store.sweeps import runs, sweeps
from talweg.spec import job_id


def queue_after_tests(tx: Transaction, job: JobRow) -> None:
    """Have the sweeps of a session summarised again once the last of its tests has ended.

    Args:
        tx: The transaction in which a job ends.
        job: The job, locked, as it is now.
    """
    tested = job.job_spec.test_of.job
    session = sessions.lock_of_test(tx, job_id(tested), job.id) if tested else None
    if session is None or sessions.any_open_test(tx.connection, session):
        return
    proposals = sessions.proposals(tx.connection, session)
    for id_ in sorted({each.sweep for each in proposals if each.sweep}):
        runs.queue(tx, sweeps.lock(tx, id_))
