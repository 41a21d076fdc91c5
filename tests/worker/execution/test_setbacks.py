"""Attempts that end since the worker is in trouble: the job goes back, with the reason."""

import shutil
from pathlib import Path

from tests._parts import wait_until
from tests.worker._jobs import Jobs, tiny_spec
from tests.worker.execution.conftest import Worker, join

from talweg.v1.jobs_pb2 import Job


def test_a_store_that_is_away_is_not_asked_without_end(
    jobs: Jobs, worker: Worker, tmp_path: Path
) -> None:
    name = jobs.submit(tiny_spec(training={"steps": 100_000, "evaluate_every_epochs": 1000}))
    thread = worker.begin()
    wait_until(lambda: jobs.get(name).progress.step > 0, timeout=20, what="it trains")
    worker.shutdown.set()
    join(thread)
    worker.shutdown.clear()
    assert jobs.get(name).state == Job.QUEUED
    blobs = tmp_path / "blobs"
    shutil.move(blobs, tmp_path / "aside")
    blobs.write_text("")
    # The next claim finds nothing, since the job is held back.
    assert 1 <= worker.answer() <= 3
    job = jobs.get(name)
    assert job.state == Job.QUEUED
    assert (
        "failed, the last on here: Returned to the queue before it started" in job.waiting_reason
    )
    assert "the blob store is unreachable" in job.waiting_reason
    blobs.unlink()
    shutil.move(tmp_path / "aside", blobs)
    wait_until(
        lambda: "retried in" not in jobs.get(name).waiting_reason,
        timeout=20,
        what="its pause is over",
    )
    thread = worker.begin()
    wait_until(lambda: jobs.get(name).progress.step > 0, timeout=20, what="it goes on")
    jobs.cancel(name)
    join(thread)
    texts = [event.log.text for event in jobs.events(name) if event.HasField("log")]
    assert any(text.startswith("Resumes from the checkpoint of step") for text in texts)
