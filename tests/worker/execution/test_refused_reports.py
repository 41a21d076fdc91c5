"""Lines that a real server refuses: they cost neither the lease nor what stands beside them."""

import threading

import grpc
import pytest
from tests._parts import wait_until
from tests.worker._jobs import Jobs, tiny_spec
from tests.worker.execution.conftest import SHORT_LEASE_SECONDS, Worker, join

from talweg.spec import CheckpointName
from talweg.v1.jobs_pb2 import (
    Checkpoint,
    Event,
    GetJobMetricsRequest,
    Job,
    LogLine,
    MetricSummary,
    StateChange,
)
from talweg.v1.workers_pb2 import Kept, ReportProgressRequest
from talweg.worker.execution.outbox import Outbox
from talweg.worker.execution.reporter import ReportDelta
from talweg.worker.training import Reporter, Result

NAMELESS = {"": 1.0, "train/loss": 0.5}
"""A summary must have a name."""


def summaries(jobs: Jobs, name: str) -> dict[str, MetricSummary]:
    answer = jobs.channel.jobs.GetJobMetrics(GetJobMetricsRequest(name=name))
    return {summary.name: summary for summary in answer.summaries}


def left_out(jobs: Jobs, name: str) -> list[str]:
    """Return what the job's log says was left out."""
    lines = [event.log for event in jobs.events(name) if event.HasField("log")]
    assert all(line.level == LogLine.ERROR for line in lines)
    return [line.text for line in lines]


def test_a_refused_line_costs_a_running_job_nothing_else(
    short_jobs: Jobs, short_worker: Worker
) -> None:
    jobs = short_jobs
    told, go_on = threading.Event(), threading.Event()

    def run(spec: object, *, report: Reporter, **_: object) -> Result:
        report.progress(1, 3, 1, 1)
        report.metrics(1, NAMELESS)
        told.set()
        # Longer than the lease lasts: a report that is refused must not stop its renewal.
        go_on.wait(1.5 * SHORT_LEASE_SECONDS)
        report.metrics(2, {"train/loss": 0.25})
        return Result(Job.SUCCEEDED)

    name = jobs.submit(tiny_spec())
    thread = short_worker.begin(run=run)
    assert told.wait(60)
    wait_until(lambda: jobs.get(name).progress.step == 1, timeout=5, what="the rest is taken")
    join(thread)
    job = jobs.get(name)
    assert (job.state, job.attempt) == (Job.SUCCEEDED, 1)
    held = summaries(jobs, name)
    assert list(held) == ["train/loss"]
    assert (held["train/loss"].first, held["train/loss"].last) == (0.5, 0.25)
    assert held["train/loss"].count == 2
    points = [e.metrics for e in jobs.events(name) if e.HasField("metrics")]
    assert [(point.step, dict(point.values)) for point in points] == [
        (1, {"train/loss": 0.5}),
        (2, {"train/loss": 0.25}),
    ]
    (line,) = left_out(jobs, name)
    assert "the summary of the metric ''" in line
    assert "must have >= 1" in line


def test_a_line_that_is_refused_with_the_end_does_not_cost_the_end(
    jobs: Jobs, worker: Worker
) -> None:
    def run(spec: object, *, report: Reporter, **_: object) -> Result:
        report.metrics(7, {**NAMELESS, "test/mae": 2.0})
        return Result(Job.SUCCEEDED)

    name = jobs.submit(tiny_spec())
    assert worker.answer(run=run) == 1
    job = jobs.get(name)
    assert (job.state, job.attempt) == (Job.SUCCEEDED, 1)
    assert {key: held.last for key, held in summaries(jobs, name).items()} == {
        "train/loss": 0.5,
        "test/mae": 2.0,
    }
    (line,) = left_out(jobs, name)
    assert "the summary of the metric ''" in line


def test_a_report_that_is_too_large_arrives_in_parts(jobs: Jobs, worker: Worker) -> None:
    texts = [f"{number} " + "x" * 9000 for number in range(1000)]

    def run(spec: object, *, report: Reporter, **_: object) -> Result:
        for text in texts:
            report.log(LogLine.ERROR, text)
        return Result(Job.SUCCEEDED)

    name = jobs.submit(tiny_spec())
    assert worker.answer(run=run) == 1
    assert jobs.get(name).state == Job.SUCCEEDED
    assert left_out(jobs, name) == texts


def send_all(outbox: Outbox, jobs: Jobs) -> None:
    while outbox:
        try:
            jobs.channel.workers.ReportProgress(outbox.first())
        except grpc.RpcError as exc:
            if exc.code() != grpc.StatusCode.INVALID_ARGUMENT:
                raise
            outbox.was_refused(exc.details() or "")
        else:
            outbox.was_taken()


def news(*events: Event, names: tuple[str, ...] = ()) -> ReportDelta:
    return ReportDelta(list(events), [MetricSummary(name=name, last=1.0) for name in names])


def test_only_what_is_bad_is_left_out_and_the_rest_keeps_its_order(jobs: Jobs) -> None:
    assignment = jobs.begin(tiny_spec())
    left, kept = list[str](), list[Kept]()
    outbox = Outbox(assignment.lease, taken=kept.append, left_out=left.append)
    good = [Event(log=LogLine(text=str(number))) for number in range(1, 12)]
    # Its state is not for a worker to tell of.
    bad = Event(state=StateChange(state=Job.FAILED))
    name = str(CheckpointName(assignment.lease.job, 1, 1))
    checkpoints = Kept(checkpoints=[Checkpoint(name=name, step=1, attempt=1)])
    outbox.add(news(*good[:5], bad, *good[5:], names=("a", "", "b")), checkpoints)
    send_all(outbox, jobs)
    assert [text.split(",")[0] for text in left] == [
        "The server refuses an event of the kind state",
        "The server refuses the summary of the metric ''",
    ]
    assert kept == [checkpoints]
    outbox.add(news(names=("c",)), Kept(checkpoints=[Checkpoint(name="", step=2)]))
    send_all(outbox, jobs)
    assert "the list of its checkpoints" in left[-1]
    assert len(left) == 3
    # Nothing of it is tried again.
    assert outbox.first() == ReportProgressRequest(lease=assignment.lease)
    job = jobs.get(assignment.lease.job)
    assert [each.step for each in job.checkpoints] == [1]
    assert sorted(summaries(jobs, assignment.lease.job)) == ["a", "b", "c"]
    jobs.cancel(assignment.lease.job, force=True)
    events = jobs.events(assignment.lease.job)
    lines = [event.log.text for event in events if event.HasField("log")]
    assert lines == [event.log.text for event in good]


def test_a_line_of_the_log_that_is_refused_is_not_told_of_in_the_log(
    jobs: Jobs, caplog: pytest.LogCaptureFixture
) -> None:
    assignment = jobs.begin(tiny_spec())
    left: list[str] = []
    outbox = Outbox(assignment.lease, taken=lambda kept: None, left_out=left.append)
    outbox.add(news(Event(log=LogLine(text="hm"))), None)
    outbox.first()
    outbox.was_refused("no")
    assert not outbox
    assert left == []
    assert "The server refuses an event of the kind log" in caplog.text


def test_the_same_report_keeps_its_number_until_it_is_answered(jobs: Jobs) -> None:
    assignment = jobs.begin(tiny_spec())
    outbox = Outbox(assignment.lease, taken=lambda kept: None, left_out=lambda text: None)
    outbox.add(news(names=("a", "b")), None)
    for _ in range(2):
        # The first answer is lost.
        jobs.channel.workers.ReportProgress(outbox.first())
    assert outbox.first().sequence == 1
    outbox.was_refused("no")
    assert [each.name for each in outbox.first().summaries] == ["a"]
    assert outbox.first().sequence == 2
    outbox.was_taken()
    assert outbox.first().sequence == 3
    outbox.was_taken()
    assert outbox.first().sequence == 0
