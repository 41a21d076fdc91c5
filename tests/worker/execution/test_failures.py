"""Attempts that fail: whose fault it is, and what the record says then."""

import pytest
from tests.worker._jobs import Jobs, tiny_spec
from tests.worker.execution.conftest import Worker, join
from tests.worker.execution.loops import StepUntilStopped

from talweg.spec import job_id
from talweg.v1.jobs_pb2 import Job, LogLine, Outcome
from talweg.worker.errors import UserSpecError
from talweg.worker.tracking.spool import LINES, attempt_folder
from talweg.worker.training import Result


@pytest.mark.parametrize(
    ("error", "cause", "message"),
    [
        (UserSpecError("model: too deep"), Outcome.USER_SPEC, "model: too deep"),
        (ValueError("odd"), Outcome.SERVICE, "ValueError: odd"),
        (MemoryError(), Outcome.OUT_OF_MEMORY, "out of memory"),
    ],
)
def test_an_exception_ends_the_job_and_not_the_worker(
    error: Exception, cause: Outcome.Cause.ValueType, message: str, jobs: Jobs, worker: Worker
) -> None:
    def breaks(spec: object, **_: object) -> Result:
        raise error

    name = jobs.submit(tiny_spec())
    assert worker.answer(run=breaks) == 1
    job = jobs.get(name)
    assert (job.state, job.outcome.cause) == (Job.FAILED, cause)
    assert message in job.outcome.message
    lines = [event.log for event in jobs.events(name) if event.HasField("log")]
    if cause == Outcome.SERVICE:
        (line,) = lines
        assert line.level == LogLine.ERROR
        assert "in breaks" in line.text
    else:
        assert lines == []
    after = jobs.submit(tiny_spec())
    worker.answer()
    assert jobs.get(after).state == Job.SUCCEEDED


def test_an_attempt_that_cannot_be_made_is_told_at_once(jobs: Jobs, worker: Worker) -> None:
    name = jobs.submit(tiny_spec())
    worker.spool_dir.mkdir()
    # No folder: a read-only one would not keep root out.
    (worker.spool_dir / job_id(name)).write_text("")
    assert worker.answer() == 1
    job = jobs.get(name)
    assert (job.state, job.outcome.cause) == (Job.FAILED, Outcome.SERVICE)
    assert str(worker.spool_dir) in job.outcome.message
    assert job.attempt == 1


def test_a_machine_that_cannot_keep_results_takes_no_jobs(
    jobs: Jobs, worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    worker.spool_dir.write_text("")
    name = jobs.submit(tiny_spec())
    assert worker.answer() == 0
    assert jobs.get(name).state == Job.QUEUED
    assert str(worker.spool_dir) in caplog.text
    worker.spool_dir.unlink()
    assert worker.answer() == 1
    assert jobs.get(name).state == Job.SUCCEEDED


def test_a_full_disk_is_no_success(jobs: Jobs, worker: Worker) -> None:
    name = jobs.submit(tiny_spec())
    folder = attempt_folder(worker.spool_dir, job_id=job_id(name), attempt=1)
    folder.mkdir(parents=True)
    (folder / LINES).symlink_to("/dev/full")
    worker.answer()
    job = jobs.get(name)
    assert (job.state, job.outcome.cause) == (Job.FAILED, Outcome.SERVICE)
    assert "No space left" in job.outcome.message


def test_a_full_disk_stops_a_long_job(jobs: Jobs, worker: Worker) -> None:
    name = jobs.submit(tiny_spec())
    folder = attempt_folder(worker.spool_dir, job_id=job_id(name), attempt=1)
    folder.mkdir(parents=True)
    (folder / LINES).symlink_to("/dev/full")
    join(worker.begin(run=StepUntilStopped()))
    assert "No space left" in jobs.get(name).outcome.message
