"""Attempts that fail: whose fault it is, and what the record says then."""

import errno
import os

import pytest
from billiard import common
from tests._parts import wait_until
from tests.worker._jobs import Jobs, tiny_spec
from tests.worker.execution.conftest import Worker, join
from tests.worker.execution.loops import StepUntilStopped

from talweg.spec import job_id
from talweg.spec.states import ENDED
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


@pytest.mark.parametrize("error", [SystemExit(3), SystemExit(), KeyboardInterrupt()])
@pytest.mark.parametrize("loss", ["mse", {"sum": {"terms": [{"loss": {"plugin": "own"}}]}}])
def test_code_that_would_end_the_process_ends_its_job(
    error: BaseException, loss: str | dict[str, object], jobs: Jobs, worker: Worker
) -> None:
    def exits(spec: object, **_: object) -> Result:
        raise error

    name = jobs.submit(tiny_spec(loss=loss))
    assert worker.answer(run=exits) == 1
    job = jobs.get(name)
    assert (job.state, job.attempt) == (Job.FAILED, 1)
    last_line = f"{type(error).__name__}: 3" if error.args else type(error).__name__
    assert f"would end its process by {last_line}, in exits" in job.outcome.message
    is_plugins = loss != "mse"
    assert job.outcome.cause == (Outcome.USER_SPEC if is_plugins else Outcome.SERVICE)
    assert is_plugins == ("must raise an error instead" in job.outcome.message)
    after = jobs.submit(tiny_spec())
    worker.answer()
    assert jobs.get(after).state == Job.SUCCEEDED


def test_sigterm_fails_no_job(jobs: Jobs, worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Celery's child makes a SystemExit of it, wherever the job happens to be."""

    def told_to_end(spec: object, **_: object) -> Result:
        common._should_have_exited[0] = True
        raise SystemExit(-241)

    name = jobs.submit(tiny_spec())
    try:
        with pytest.raises(SystemExit):
            worker.answer(run=told_to_end)
    finally:
        common._should_have_exited[0] = False
    assert jobs.get(name).state == Job.RUNNING


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
    # Another attempt, whose disk has room, has the results.
    wait_until(lambda: worker.answer() or has_ended(jobs, name), timeout=20, what="it has ended")
    job = jobs.get(name)
    assert (job.state, job.attempt) == (Job.SUCCEEDED, 2)
    (reason,) = given_back(jobs, name)
    assert reason.startswith(
        "returned to the queue by here: the worker's disk is full: free space there, or"
    )
    assert str(folder / LINES) in reason


def has_ended(jobs: Jobs, name: str) -> bool:
    return jobs.get(name).state in ENDED


def given_back(jobs: Jobs, name: str) -> list[str]:
    states = [event.state for event in jobs.events(name) if event.HasField("state")]
    return [
        change.reason for change in states if change.reason.startswith("returned to the queue")
    ]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/tmp/x"), "disk is full"),
        (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)), "disk is full"),
        # As safetensors says it.
        (
            RuntimeError("Error while serializing: I/O error: No space left on device"),
            "disk is full",
        ),
        # As threads and processes that cannot be started do.
        (RuntimeError("can't start new thread"), "ulimit -u"),
        (RuntimeError("unable to start watchdog thread"), "ulimit -u"),
        (BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)), "ulimit -u"),
    ],
)
def test_a_machine_that_is_full_for_the_training_gives_the_job_back(
    error: Exception, said: str, jobs: Jobs, worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    def breaks(spec: object, **_: object) -> Result:
        raise error

    name = jobs.submit(tiny_spec())
    worker.answer(run=breaks)
    job = jobs.get(name)
    assert job.state == Job.QUEUED
    assert said in job.waiting_reason
    # All is known of it: no defect is to be looked for.
    assert not [record for record in caplog.records if record.exc_info]


def test_a_full_disk_stops_a_long_job(jobs: Jobs, worker: Worker) -> None:
    name = jobs.submit(tiny_spec())
    folder = attempt_folder(worker.spool_dir, job_id=job_id(name), attempt=1)
    folder.mkdir(parents=True)
    (folder / LINES).symlink_to("/dev/full")
    run = StepUntilStopped()
    thread = worker.begin(run=run)
    assert run.begun.wait(120)
    wait_until(
        lambda: jobs.get(name).attempt > 1 or not thread.is_alive(), timeout=20, what="it stops"
    )
    worker.shutdown.set()
    join(thread)
    assert "No space left" in jobs.get(name).waiting_reason
