"""Trials of sweeps, and the jobs that belong to them."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    bindparam,
    case,
    delete,
    func,
    insert,
    select,
    update,
)

from talweg.server.store.record.database import Transaction
from talweg.server.store.record.rows import JobRow, TrialRow
from talweg.server.store.record.schema import is_open, jobs, trial_jobs, trials
from talweg.server.store.record.scope import in_project
from talweg.v1.jobs_pb2 import Job
from talweg.v1.options_pb2 import Goal
from talweg.v1.sweeps_pb2 import Trial

_COLUMNS = [field.name for field in fields(TrialRow)]
_IN_ONE_STATEMENT = 500
_NOT_ENDED = (Job.QUEUED, Job.RUNNING, Job.PAUSED)


# Trials of all their seeds come first. One that diverged is the worst result, whatever its other
# seeds have reached.
_RANK = case(
    (trials.c.state == Trial.DIVERGED, 4),
    (trials.c.value.is_(None) | is_open, 3),
    (trials.c.state == Trial.PRUNED, 2),
    (trials.c.state != Trial.SUCCEEDED, 1),
    else_=0,
)
_MOST_CHOSEN = 1


@dataclass(frozen=True)
class TrialJob:
    """A job of a trial."""

    trial: int
    """Its trial's number."""
    seed: int
    """By how much its seeds are raised above the base's."""
    job: str
    """Its id."""
    digest: bytes = b""
    """Of its spec; empty where it is not to be taken over by later sweeps."""
    reused: bool = False
    """It was taken over from an earlier sweep."""
    lineage: bytes = b""
    """Of its spec but for its epochs; empty where no longer job goes on from it."""
    continued: bool = False
    """It went on from a shorter job's checkpoint."""


def insert_trials(tx: Transaction, rows: Sequence[TrialRow]) -> None:
    """Write trials that begin."""
    if rows:
        columns = [{name: getattr(row, name) for name in _COLUMNS} for row in rows]
        tx.connection.execute(insert(trials), columns)


def change(tx: Transaction, row: TrialRow, **values: Any) -> TrialRow:
    """Change columns of a trial, whose sweep is locked.

    Returns:
        The trial as it is now.
    """
    tx.connection.execute(
        update(trials)
        .where(trials.c.sweep == row.sweep, trials.c.number == row.number)
        .values(**values)
    )
    return replace(row, **values)


def reopen(tx: Transaction, sweep: int, num_seeds: int, state: int) -> int:
    """Have trials of the search go on that have fewer seeds than they are to have.

    Those that were refused or stopped early stay as they are.

    Args:
        tx: A transaction.
        sweep: The sweep, locked.
        num_seeds: How many seeds they are to have.
        state: The state in which they go on.

    Returns:
        How many trials these are.
    """
    statement = (
        update(trials)
        .where(
            trials.c.sweep == sweep,
            trials.c.is_final.is_(False),
            trials.c.num_seeds < num_seeds,
            trials.c.message == "",
        )
        .values(state=state, value=None, sd=None, count=0)
    )
    return int(tx.connection.execute(statement).rowcount)


def open_trials(connection: Connection, sweep: int) -> list[TrialRow]:
    """Return the trials of a sweep whose jobs have not all ended, by number."""
    return _by_number(connection, sweep, is_open)


def in_states(connection: Connection, sweep: int, states: Iterable[int]) -> list[TrialRow]:
    """Return the trials of a sweep in some states, by number."""
    return _by_number(connection, sweep, trials.c.state.in_(list(states)))


def all_of(connection: Connection, sweep: int) -> list[TrialRow]:
    """Return all trials of a sweep that have begun, by number."""
    return _by_number(connection, sweep)


def of_numbers(connection: Connection, sweep: int, numbers: Sequence[int]) -> list[TrialRow]:
    """Return some trials of a sweep, by number."""
    return _by_number(connection, sweep, trials.c.number.in_(list(numbers)))


def final(connection: Connection, sweep: int) -> list[TrialRow]:
    """Return the final trials of a sweep, by number."""
    return _by_number(connection, sweep, trials.c.is_final.is_(True))


def _by_number(
    connection: Connection, sweep: int, *conditions: ColumnElement[bool]
) -> list[TrialRow]:
    statement = select(trials).where(trials.c.sweep == sweep, *conditions)
    rows = connection.execute(statement.order_by(trials.c.number))
    return [TrialRow(*row) for row in rows]


def page(
    connection: Connection,
    sweep: int,
    *,
    states: Sequence[int],
    goal: int | None,
    start: int,
    limit: int,
) -> list[TrialRow]:
    """List trials.

    Args:
        connection: To read by.
        sweep: The sweep.
        states: Only those in these; all where empty.
        goal: The best by it first; by number where None.
        start: The number after which to begin, since trials may leave their states from page to
            page; of the best first, how many to leave out.
        limit: At most so many.
    """
    statement = select(trials).where(trials.c.sweep == sweep).limit(limit)
    if states:
        statement = statement.where(trials.c.state.in_(states))
    order: list[Any] = []
    if goal is None:
        statement = statement.where(trials.c.number > start)
    else:
        statement = statement.offset(start)
        order = [_RANK, trials.c.value.is_(None), _by_value(goal)]
    rows = connection.execute(statement.order_by(*order, trials.c.number))
    return [TrialRow(*row) for row in rows]


def best(connection: Connection, sweep: int, search: int, goal: int) -> TrialRow | None:
    """Return the best trial of a search; None while none has a value."""
    statement = (
        select(trials)
        .where(
            trials.c.sweep == sweep,
            trials.c.search == search,
            trials.c.is_final.is_(False),
            _RANK <= _MOST_CHOSEN,
        )
        .order_by(_RANK, _by_value(goal), trials.c.number)
        .limit(1)
    )
    row = connection.execute(statement).first()
    return None if row is None else TrialRow(*row)


def _by_value(goal: int) -> Any:
    return trials.c.value.desc() if goal == Goal.MAXIMIZE else trials.c.value


def count(connection: Connection, sweep: int) -> dict[int, int]:
    """Count the trials of a sweep by state."""
    statement = (
        select(trials.c.state, func.count())
        .where(trials.c.sweep == sweep)
        .group_by(trials.c.state)
    )
    return {row[0]: row[1] for row in connection.execute(statement)}


@dataclass(frozen=True)
class SearchCounts:
    """How the trials of a search have ended."""

    ended: int
    """All of them that have."""
    diverged: int
    """Those that DIVERGED."""
    failed: int
    """Those that FAILED."""
    cancelled: int
    """Those that were CANCELLED."""
    without_value: int
    """Those that SUCCEEDED, and whose objective never had a value."""


def counts(connection: Connection, sweep: int, num_searches: int) -> list[SearchCounts]:
    """Count the trials of each search, without final ones, that have ended."""
    statement = (
        select(
            trials.c.search,
            trials.c.state,
            func.count(),
            func.count() - func.count(trials.c.value),
        )
        .where(trials.c.sweep == sweep, trials.c.is_final.is_(False), ~is_open)
        .group_by(trials.c.search, trials.c.state)
    )
    by_search: list[Counter[int]] = [Counter() for _ in range(num_searches)]
    without_value = [0] * num_searches
    for search, state, number, without in connection.execute(statement):
        by_search[search][state] = number
        if state == Trial.SUCCEEDED:
            without_value[search] = without
    return [
        SearchCounts(
            ended=each.total(),
            diverged=each[Trial.DIVERGED],
            failed=each[Trial.FAILED],
            cancelled=each[Trial.CANCELLED],
            without_value=without,
        )
        for each, without in zip(by_search, without_value, strict=True)
    ]


def num_refused(connection: Connection, sweep: int) -> int:
    """Count the trials of a sweep whose jobs were refused."""
    statement = select(func.count()).where(
        trials.c.sweep == sweep,
        trials.c.state == Trial.FAILED,
        trials.c.message != "",
        trials.c.pruned_at == 0,
    )
    return connection.scalar(statement) or 0


def add_jobs(tx: Transaction, sweep: int, new: Sequence[TrialJob]) -> None:
    """Write down which jobs belong to which trials."""
    columns = [
        {
            "sweep": sweep,
            "trial": job.trial,
            "seed": job.seed,
            "job": job.job,
            "digest": job.digest,
            "reused": job.reused,
            "lineage": job.lineage,
            "continued": job.continued,
        }
        for job in new
    ]
    if columns:
        tx.connection.execute(insert(trial_jobs), columns)


def remove_jobs(tx: Transaction, sweep: int, old: Sequence[TrialJob]) -> None:
    """Have jobs no longer belong to their trials, so that others take their places."""
    if old:
        statement = delete(trial_jobs).where(
            trial_jobs.c.sweep == sweep,
            trial_jobs.c.trial == bindparam("of_trial"),
            trial_jobs.c.seed == bindparam("of_seed"),
        )
        columns = [{"of_trial": job.trial, "of_seed": job.seed} for job in old]
        tx.connection.execute(statement, columns)


def jobs_of(
    connection: Connection, sweep: int, numbers: Sequence[int]
) -> dict[int, list[TrialJob]]:
    """Return the jobs of some trials, by trial and seed."""
    found: dict[int, list[TrialJob]] = {}
    for start in range(0, len(numbers), _IN_ONE_STATEMENT):
        statement = (
            select(*(trial_jobs.c[field.name] for field in fields(TrialJob)))
            .where(
                trial_jobs.c.sweep == sweep,
                trial_jobs.c.trial.in_(numbers[start : start + _IN_ONE_STATEMENT]),
            )
            .order_by(trial_jobs.c.trial, trial_jobs.c.seed)
        )
        for row in connection.execute(statement):
            found.setdefault(row.trial, []).append(TrialJob(*row))
    return found


def num_reused(connection: Connection, sweep: int) -> int:
    """Count the jobs of a sweep that were taken over."""
    statement = select(func.count()).where(
        trial_jobs.c.sweep == sweep, trial_jobs.c.reused.is_(True)
    )
    return connection.scalar(statement) or 0


def num_continued(connection: Connection, sweep: int) -> int:
    """Count the jobs of a sweep that went on from shorter ones, without those taken over."""
    statement = select(func.count()).where(
        trial_jobs.c.sweep == sweep, trial_jobs.c.continued.is_(True)
    )
    return connection.scalar(statement) or 0


def finished(connection: Connection, digests: Sequence[bytes]) -> dict[bytes, list[JobRow]]:
    """Return jobs of sweeps that SUCCEEDED, by digest, the latest last."""
    return _succeeded(connection, trial_jobs.c.digest, digests)


def relatives(connection: Connection, lineages: Sequence[bytes]) -> dict[bytes, list[JobRow]]:
    """Return jobs of sweeps that SUCCEEDED, by lineage, the latest last."""
    return _succeeded(connection, trial_jobs.c.lineage, lineages)


def _succeeded(
    connection: Connection, column: ColumnElement[bytes], digests: Sequence[bytes]
) -> dict[bytes, list[JobRow]]:
    found: dict[bytes, list[JobRow]] = {}
    wanted = list({digest for digest in digests if digest})
    for start in range(0, len(wanted), _IN_ONE_STATEMENT):
        statement = (
            select(column, jobs)
            .join(trial_jobs, jobs.c.id == trial_jobs.c.job)
            .where(
                column.in_(wanted[start : start + _IN_ONE_STATEMENT]),
                trial_jobs.c.reused.is_(False),
                jobs.c.state == Job.SUCCEEDED,
            )
            .order_by(jobs.c.seq)
        )
        # Never of another project: not even that somebody has trained it.
        statement = in_project(connection, statement, jobs)
        for row in connection.execute(statement):
            found.setdefault(row[0], []).append(JobRow(*row[1:]))
    return found


def job_states(connection: Connection, sweep: int) -> dict[int, int]:
    """Count the jobs of a sweep by state; deleted ones are left out."""
    statement = (
        select(jobs.c.state, func.count())
        .join(trial_jobs, trial_jobs.c.job == jobs.c.id)
        .where(trial_jobs.c.sweep == sweep)
        .group_by(jobs.c.state)
    )
    return {row[0]: row[1] for row in connection.execute(statement)}


def open_jobs(connection: Connection, sweep: int) -> list[str]:
    """Return the ids of a sweep's jobs that have not ended, in one order for all who lock them."""
    statement = (
        select(jobs.c.id)
        .join(trial_jobs, trial_jobs.c.job == jobs.c.id)
        .join(
            trials,
            (trials.c.sweep == trial_jobs.c.sweep) & (trials.c.number == trial_jobs.c.trial),
        )
        .where(
            trial_jobs.c.sweep == sweep,
            is_open,
            jobs.c.state.in_(_NOT_ENDED),
        )
        .order_by(jobs.c.seq)
    )
    return list(connection.scalars(statement))


def states_of(connection: Connection, ids: Sequence[str]) -> dict[str, int]:
    """Return the states of jobs by id; deleted ones are missing."""
    found: dict[str, int] = {}
    for start in range(0, len(ids), _IN_ONE_STATEMENT):
        some = ids[start : start + _IN_ONE_STATEMENT]
        statement = select(jobs.c.id, jobs.c.state).where(jobs.c.id.in_(some))
        found |= {row.id: row.state for row in connection.execute(statement)}
    return found
