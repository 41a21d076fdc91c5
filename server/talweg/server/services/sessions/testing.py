"""Tests of what a session has kept: jobs that evaluate the kept weights of others on test data."""

from collections.abc import Mapping, Sequence
from itertools import islice
from statistics import fmean, stdev
from typing import Final

from sqlalchemy import Connection

from talweg.server.errors import SessionState
from talweg.server.services.comparison.measured import measured
from talweg.server.services.quotas import room_for_jobs
from talweg.server.services.sessions.pairing import PairReader
from talweg.server.services.submission.preparing import links_of, new_id
from talweg.server.services.submission.stored_data import PREFIX
from talweg.server.store import jobs, sessions, stored_datasets
from talweg.server.store.jobs import NewJob
from talweg.server.store.record.database import Transaction
from talweg.server.store.record.rows import JobRow
from talweg.server.store.record.session_rows import ProposalRow, SessionJobRow, SessionRow
from talweg.server.store.sweeps import sweeps
from talweg.spec import primary_metric
from talweg.spec.sweeps import TAG_RUNS, TAG_SWEEP, TAG_TRIAL
from talweg.v1.jobs_pb2 import Checkpoint, Job
from talweg.v1.sessions_pb2 import TestResult
from talweg.v1.spec_pb2 import JobSpec, Outputs
from talweg.v1.workers_pb2 import Kept

TAG_TEST_OF = "test_of"
"""A tag of such a job: the id of the job whose weights it evaluates."""
NO_DATA = "-"
"""In the place of a test's id: there is none, as the data were deleted."""
# What is looked into beside the training was told by the job itself.
_DIAGNOSED: Final = ("one_batch_steps", "rate_range", "gradient_flow", "loss_landscape")


def close(tx: Transaction, id_: str) -> None:
    """Close a session, and have its jobs tested that were not; once all were, those in vain.

    Args:
        tx: A transaction.
        id_: The session.

    Raises:
        SessionNotFound: Nothing has named it.
        SessionState: Jobs or sweeps of it have not ended.
    """
    session = sessions.lock(tx, id_)
    rows = sessions.rows_of(tx.connection, session.seq)
    _require_ended(tx.connection, session, rows)
    of_session = sessions.jobs_of(tx.connection, session.seq)
    known = _known_tests(tx.connection, of_session)
    new: dict[str, NewJob] = {}
    # While others wait or run, what failed is not tried again: that could go on without an end.
    is_first = _count(of_session, rows, known)[0] > 0
    untested = {each.job for each in of_session if _is_untested(each, known, is_first)}
    for job, row in rows.items():
        if job in untested and (test := _test_of(row)) is not None:
            new[job] = test
    without = _without_data(tx, new)
    new = {job: test for job, test in new.items() if job not in without}
    # The rest is tested when the session is closed once more.
    new = dict(islice(new.items(), room_for_jobs(tx.connection)))
    jobs.insert_jobs(tx, list(new.values()))
    tests = {job: test.id for job, test in new.items()} | dict.fromkeys(without, NO_DATA)
    sessions.set_tests(tx, session.seq, tests)
    if session.close_time is None:
        sessions.change(tx, session, close_time=tx.now)


def num_tests(connection: Connection, session: SessionRow) -> tuple[int, int]:
    """Return how many jobs of a closed session are still to be tested, and how many cannot be.

    What the project had no room for is still to be tested.
    """
    rows = sessions.rows_of(connection, session.seq)
    of_session = sessions.jobs_of(connection, session.seq)
    return _count(of_session, rows, _known_tests(connection, of_session))


def _known_tests(connection: Connection, of_session: Sequence[SessionJobRow]) -> dict[str, JobRow]:
    """Return the jobs that evaluate those of a session, by their own ids."""
    return jobs.get_many(connection, [each.test for each in of_session if each.test])


def _count(
    of_session: Sequence[SessionJobRow], rows: Mapping[str, JobRow], known: Mapping[str, JobRow]
) -> tuple[int, int]:
    open_ = failed = 0
    for each in of_session:
        row, test = rows.get(each.job), known.get(each.test)
        if row is None or row.state != Job.SUCCEEDED or not row.job_spec.split.test:
            continue
        is_due = not each.test and _last_checkpoint(row) is not None
        if test is None:
            open_ += is_due
            failed += not is_due
            continue
        open_ += not test.ended
        failed += test.ended and test.state != Job.SUCCEEDED
    return open_, failed


def results(
    connection: Connection, session: SessionRow, proposals: Sequence[ProposalRow]
) -> list[TestResult]:
    """Return what the settings reach on the test data, as far as they have been tested."""
    of_session = sessions.jobs_of(connection, session.seq)
    known = _known_tests(connection, of_session)
    tests = {each.job: known[each.test] for each in of_session if each.test in known}
    single: dict[int, list[str]] = {}
    for each in of_session:
        single.setdefault(each.proposal, []).append(each.job)
    found = []
    reader, done = PairReader(), set()
    for proposal in proposals:
        if not proposal.sweep:
            ids = single.get(proposal.number, [])
            number = proposal.number if proposal.place else 0
            found.append(_result(connection, proposal.label, "", number, _of(ids, tests)))
            continue
        final = reader.final_jobs(connection, proposal.sweep)
        plan = reader.plans.of(sweeps.get(connection, proposal.sweep))
        searches = [(proposal.search, proposal.number)]
        if proposal.sweep not in done:
            searches.insert(0, (proposal.baseline, 0))
        done.add(proposal.sweep)
        for search, number in searches:
            of_search = _of([row.id for row in final.get(search, ())], tests)
            label = plan.searches[search].label
            found.append(_result(connection, label, proposal.sweep_name, number, of_search))
    return [each for each in found if each.n]


def _of(ids: Sequence[str], tests: Mapping[str, JobRow]) -> list[JobRow]:
    rows = [tests[id_] for id_ in ids if id_ in tests]
    tested = [row for row in rows if row.state == Job.SUCCEEDED]
    return sorted(tested, key=lambda row: row.seq)


def _result(
    connection: Connection, label: str, sweep: str, number: int, rows: Sequence[JobRow]
) -> TestResult:
    result = TestResult(label=label, sweep=sweep, number=number)
    if not rows:
        return result
    result.metric = primary_metric(rows[0].job_spec)
    by_job = measured(connection, rows, result.metric)
    values = [by_job[row.seq].value for row in rows if row.seq in by_job]
    result.n = len(values)
    result.jobs.extend(row.name for row in rows if row.seq in by_job)
    if values:
        result.mean = fmean(values)
    if len(values) > 1:
        result.sd = stdev(values)
    return result


def _require_ended(
    connection: Connection, session: SessionRow, rows: Mapping[str, JobRow]
) -> None:
    still_open = [row.name for row in rows.values() if not row.ended]
    for id_ in sweeps.going_on(connection):
        sweep = sweeps.get(connection, id_)
        if sweep.sweep_spec.session == session.id:
            still_open.insert(0, sweep.name)
    if still_open:
        more = f" and {len(still_open) - 1} more" if len(still_open) > 1 else ""
        raise SessionState(
            f"{session.name} cannot be closed: {still_open[0]}{more} has not ended; wait, or "
            "cancel what is not wanted",
            metadata={"session": session.name, "open": str(len(still_open))},
        )


def _is_untested(job: SessionJobRow, known: Mapping[str, JobRow], is_first: bool) -> bool:
    if is_first:
        return not job.test
    test = known.get(job.test)
    return test is None or (test.ended and test.state != Job.SUCCEEDED)


def _without_data(tx: Transaction, new: Mapping[str, NewJob]) -> list[str]:
    """Keep the data that jobs read; return the keys of those whose data were deleted."""
    data = {
        key: {link for link in job.links if link.startswith(PREFIX)} for key, job in new.items()
    }
    names = set().union(*data.values())
    there = stored_datasets.keep(tx, names) if names else set()
    return [key for key, own in data.items() if own - there]


def _last_checkpoint(row: JobRow) -> Checkpoint | None:
    own = (each for each in row.kept if not each.best)
    return max(own, key=lambda each: each.step, default=None)


def _test_of(row: JobRow) -> NewJob | None:
    """Return a job that tests the weights of another; None where there are none, or no test data.

    It is the job itself, which goes on from its last checkpoint: at the end of its training.
    """
    last = _last_checkpoint(row)
    if row.state != Job.SUCCEEDED or last is None or not row.job_spec.split.test:
        return None
    spec = JobSpec()
    spec.CopyFrom(row.job_spec)
    for name in ("session", "display_name", "continued_from"):
        spec.ClearField(name)
    if spec.HasField("diagnostics"):
        for part in _DIAGNOSED:
            spec.diagnostics.ClearField(part)
    spec.test_of.job = row.name
    spec.outputs.CopyFrom(Outputs(model=False, plots=False, checkpoint=False))
    for tag in (TAG_SWEEP, TAG_TRIAL, TAG_RUNS):
        spec.tags.pop(tag, None)
    spec.tags[TAG_TEST_OF] = row.id
    start = Checkpoint()
    start.CopyFrom(last)
    start.for_good = True
    return NewJob(
        id=new_id(),
        queue=row.queue,
        device=row.device,
        priority=row.priority,
        task=row.task,
        loss=row.loss,
        experiment=row.experiment,
        tags=dict(spec.tags),
        spec=spec.SerializeToString(deterministic=True),
        warnings=Job().SerializeToString(),
        links=links_of(spec),
        checkpoints=Kept(checkpoints=[start]).SerializeToString(),
        why=f"tests the kept weights of {row.name}",
    )
