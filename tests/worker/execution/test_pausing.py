"""Jobs that are paused and resumed, by real attempts under real leases."""

from tests._parts import wait_until
from tests.worker._jobs import Jobs, tiny_spec
from tests.worker.execution.conftest import Worker, join

from talweg.v1.jobs_pb2 import Job, PauseJobRequest, ResumeJobRequest


def test_a_paused_job_goes_on_from_the_very_step(jobs: Jobs, worker: Worker) -> None:
    name = jobs.submit(tiny_spec(training={"steps": 100_000, "evaluate_every_epochs": 1000}))
    thread = worker.begin()
    wait_until(lambda: jobs.get(name).progress.step > 0, timeout=20, what="it trains")
    asked = jobs.channel.jobs.PauseJob(PauseJobRequest(name=name, reason="lunch"))
    assert (asked.state, asked.pause_requested) == (Job.RUNNING, True)
    join(thread)
    paused = jobs.get(name)
    assert paused.state == Job.PAUSED
    (checkpoint,) = paused.checkpoints
    assert checkpoint.step > 0
    # Its worker is free, and nobody else takes it.
    assert worker.answer() == 0
    resumed = jobs.channel.jobs.ResumeJob(ResumeJobRequest(name=name))
    assert resumed.state == Job.QUEUED
    thread = worker.begin()
    wait_until(
        lambda: jobs.get(name).progress.step > checkpoint.step, timeout=20, what="it goes on"
    )
    jobs.cancel(name)
    join(thread)
    texts = [event.log.text for event in jobs.events(name) if event.HasField("log")]
    assert f"Resumes from the checkpoint of step {checkpoint.step}." in texts
    assert jobs.get(name).attempt == 2
    reasons = [event.state.reason for event in jobs.events(name)]
    assert any(f"Paused at step {checkpoint.step}: lunch" in reason for reason in reasons)
