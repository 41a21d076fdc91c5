"""One attempt at a job under a real lease: how it may end, and what the record says then."""

import json
import threading
import time
from collections import Counter
from typing import Any

import pytest
import torch
from google.protobuf.duration_pb2 import Duration
from tests._parts import Server, wait_until
from tests.worker._jobs import Jobs, tiny_spec
from tests.worker.execution.conftest import SHORT_LEASE_SECONDS, Worker, join
from tests.worker.execution.loops import StepUntilStopped, kinds, last_state

from talweg.spec import from_dict, job_id
from talweg.v1.jobs_pb2 import Divergence, GuardDecision, Job, LogLine, Outcome
from talweg.worker import training
from talweg.worker.execution import lease as lease_module
from talweg.worker.tracking.spool import DIVERGENCE, LINES, attempt_folder, read_lines
from talweg.worker.training import Control, Reporter, Result


class Counting:
    """A stub that counts its calls."""

    def __init__(self, stub: Any, calls: Counter[str]) -> None:
        self._stub, self._calls = stub, calls

    def __getattr__(self, name: str) -> Any:
        self._calls[name] += 1
        return getattr(self._stub, name)


def test_a_tiny_job_takes_two_calls_and_leaves_one_file(
    jobs: Jobs, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However busy the machine is.
    monkeypatch.setattr(lease_module, "_FIRST_LOOK", 30.0)
    names = [jobs.submit(tiny_spec(training={"steps": 5, "seed": seed})) for seed in range(3)]
    calls: Counter[str] = Counter()
    worker.channel.__dict__["workers"] = Counting(worker.channel.workers, calls)
    assert worker.answer() == 3
    assert calls == {"ClaimJobs": 4, "FinishJob": 3}
    for name in names:
        job = jobs.get(name)
        assert job.state == Job.SUCCEEDED
        assert (job.progress.step, job.progress.total_steps) == (5, 5)
        assert kinds(worker.spool_dir, name)[:2] == ["begin", "data"]
        assert last_state(worker.spool_dir, name) == "SUCCEEDED"
        (attempt,) = (worker.spool_dir / job_id(name)).iterdir()
        assert [path.name for path in attempt.iterdir()] == [LINES]


class HoldingBack:
    """A stub that holds the second job's end back until the third job has begun."""

    def __init__(self, stub: Any, begun: threading.Event) -> None:
        self._stub, self._begun = stub, begun
        self.ends = 0
        self.waited = False

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._stub, name)
        if name == "FinishJob":
            self.ends += 1
            if self.ends == 2:
                self.waited = self._begun.wait(30)
        return method


def test_the_next_job_begins_while_the_server_is_told_of_the_last(
    jobs: Jobs, worker: Worker
) -> None:
    names = [jobs.submit(tiny_spec(training={"steps": 5, "seed": seed})) for seed in range(3)]
    begun = threading.Event()
    runs: list[int] = []

    def run(spec: Any, **arguments: Any) -> Result:
        runs.append(spec.training.seed)
        if len(runs) == 3:
            begun.set()
        return training.run(spec, **arguments)

    held = HoldingBack(worker.channel.workers, begun)
    worker.channel.__dict__["workers"] = held
    assert worker.answer(run=run) == 3
    assert held.waited
    assert runs == [0, 1, 2]
    for name in names:
        assert jobs.get(name).state == Job.SUCCEEDED
        assert jobs.get(name).attempt == 1
        assert last_state(worker.spool_dir, name) == "SUCCEEDED"


def test_the_record_says_what_a_job_ran_on(jobs: Jobs, worker: Worker) -> None:
    name = jobs.submit(tiny_spec(training={"steps": 1}, resources={"device": "cpu"}))
    worker.answer()
    ran_on = jobs.get(name).outcome.environment
    assert (ran_on.device, ran_on.torch) == ("cpu", torch.__version__)
    assert ran_on.talweg
    assert ran_on.device_name
    failing = jobs.submit(tiny_spec(training={"steps": 1}))
    worker.answer(run=lambda *_, **__: Result(Job.FAILED))
    assert not jobs.get(failing).outcome.HasField("environment")


def test_the_record_and_the_spool_hold_the_same_figures(jobs: Jobs, worker: Worker) -> None:
    name = jobs.submit(tiny_spec(outputs={"model": True, "plots": True}))
    worker.answer()
    found: dict[str, float] = {}
    folder = attempt_folder(worker.spool_dir, job_id=job_id(name), attempt=1)
    for line in read_lines(folder / LINES):
        if line.kind == "metrics":
            for _, _, values in line.content["points"]:
                found |= values
    told: dict[str, float] = {}
    for event in jobs.events(name):
        if event.HasField("metrics"):
            told |= dict(event.metrics.values)
    assert "test/mae" in found
    assert told == found
    assert {path.name for path in folder.iterdir()} == {
        LINES, "weights.safetensors", "model.json", "example.safetensors",
        "predictions.safetensors",
    }  # fmt: skip


def test_what_the_guard_decides_is_told_and_its_evidence_kept(jobs: Jobs, worker: Worker) -> None:
    rollback = {"rollback": {"max_times": 1, "rate_factor": 0.9}}
    name = jobs.submit(
        tiny_spec(
            loss="mse",
            optimizer={"sgd": {"learning_rate": 900}},
            training={"steps": 50, "guard": rollback},
        )
    )
    worker.answer()
    job = jobs.get(name)
    seen = job.outcome.divergence
    assert (job.state, job.outcome.cause) == (Job.DIVERGED, Outcome.NOT_FINITE)
    assert "max_times is 1" in seen.policy
    assert len(seen.samples) in (32, 10)
    events = jobs.events(name)
    decisions = [event.guard for event in events if event.HasField("guard")]
    # A step whose loss is finite and far above the first is told of, too.
    (decision,) = (one for one in decisions if not one.seen.HasField("spike"))
    assert decision.action == GuardDecision.ROLLED_BACK
    assert (decision.to_step, decision.rate_factor, decision.rollbacks) == (0, 0.9, 1)
    assert decision.seen.step < seen.step
    lines = [event.log.text for event in events if event.log.level == LogLine.WARNING]
    assert any("is rolled back to the state after step 0" in line for line in lines)
    values = [event.metrics.values for event in events if event.HasField("metrics")]
    assert any(point.get("guard/rollbacks") == 1 for point in values)
    folder = attempt_folder(worker.spool_dir, job_id=job_id(name), attempt=1)
    assert from_dict(json.loads((folder / DIVERGENCE).read_text()), Divergence) == seen


def test_a_long_job_is_seen_to_come_along(short_jobs: Jobs, short_worker: Worker) -> None:
    jobs = short_jobs
    run = StepUntilStopped(most=1.5 * SHORT_LEASE_SECONDS)
    name = jobs.submit(tiny_spec())
    thread = short_worker.begin(run=run)
    assert run.begun.wait(60)
    wait_until(lambda: jobs.get(name).progress.step > 0, timeout=3, what="its first report")
    seen = jobs.get(name).progress
    wait_until(lambda: jobs.get(name).progress.step > seen.step, timeout=3, what="the next one")
    assert jobs.get(name).progress.steps_per_second > 0
    join(thread)
    # Longer than its lease, and never lost.
    job = jobs.get(name)
    assert (job.state, job.attempt) == (Job.SUCCEEDED, 1)


def test_cancel_ends_it_at_its_next_step(jobs: Jobs, worker: Worker) -> None:
    run = StepUntilStopped()
    name = jobs.submit(tiny_spec())
    thread = worker.begin(run=run)
    assert run.begun.wait(60)
    jobs.cancel(name, reason="changed my mind")
    join(thread)
    assert run.stop == training.Stop("cancel", "changed my mind")
    job = jobs.get(name)
    assert job.state == Job.CANCELLED
    assert job.outcome.message == "stopped in order"
    assert last_state(worker.spool_dir, name) == "CANCELLED"


def test_one_that_does_not_come_to_a_step_is_cut_off_after_its_grace_period(
    jobs: Jobs, worker: Worker
) -> None:
    begun, release = threading.Event(), threading.Event()

    def hangs(spec: object, **_: object) -> Result:
        begun.set()
        release.wait(180)
        return Result(Job.SUCCEEDED)

    name = jobs.submit(tiny_spec())
    thread = worker.begin(run=hangs)
    assert begun.wait(60)
    jobs.cancel(name, grace_period=Duration(nanos=300_000_000))
    # Well before the end of the grace period that holds where none is given.
    wait_until(lambda: worker.ended_with, timeout=3, what="its process is ended")
    release.set()
    join(thread)
    assert worker.ended_with[0] == lease_module.EXIT_STATUS
    assert jobs.get(name).state == Job.CANCELLED


def test_a_stale_lease_stops_it(jobs: Jobs, worker: Worker) -> None:
    run = StepUntilStopped()
    name = jobs.submit(tiny_spec())
    thread = worker.begin(run=run)
    assert run.begun.wait(60)
    before = jobs.cancel(name, force=True)
    join(thread)
    assert run.stop is not None
    assert run.stop.reason == "lost"
    assert last_state(worker.spool_dir, name) == "LOST"
    after = jobs.get(name)
    assert (after.last_cursor, after.outcome) == (before.last_cursor, before.outcome)


def test_without_the_server_it_stops_before_its_lease_runs_out(
    short_lender: Server, short_jobs: Jobs, short_worker: Worker
) -> None:
    lender, jobs, worker = short_lender, short_jobs, short_worker
    run = StepUntilStopped()
    name = jobs.submit(tiny_spec())
    thread = worker.begin(run=run)
    assert run.begun.wait(60)
    wait_until(lambda: jobs.get(name).progress.step > 0, timeout=5, what="a report")
    lender.kill()
    killed_at = time.monotonic()
    try:
        wait_until(lambda: run.stopped_at, timeout=10, what="it stops")
        assert run.stopped_at - killed_at < SHORT_LEASE_SECONDS
        assert run.stop is not None
        assert run.stop.reason == "lost"
        # So that it does not take the same job again.
        worker.shutdown.set()
    finally:
        lender.start()
    join(thread)
    worker.shutdown.clear()
    assert last_state(worker.spool_dir, name) == "LOST"
    wait_until(lambda: jobs.get(name).state == Job.QUEUED, timeout=10, what="the job waits again")
    assert worker.answer(run=lambda *_, **__: Result(Job.SUCCEEDED)) == 1
    job = jobs.get(name)
    assert (job.state, job.attempt) == (Job.SUCCEEDED, 2)


def test_a_server_that_comes_back_in_time_is_not_noticed(
    lender: Server, jobs: Jobs, worker: Worker
) -> None:
    run = StepUntilStopped()
    name = jobs.submit(tiny_spec())
    thread = worker.begin(run=run)
    assert run.begun.wait(60)
    wait_until(lambda: jobs.get(name).progress.step > 0, timeout=5, what="a report")
    lender.kill()
    lender.start()
    before = jobs.get(name).progress.step
    wait_until(lambda: jobs.get(name).progress.step > before, timeout=20, what="it goes on")
    run.finish()
    join(thread)
    assert run.stop is None
    job = jobs.get(name)
    assert (job.state, job.attempt) == (Job.SUCCEEDED, 1)
    steps = [e.metrics.step for e in jobs.events(name) if e.HasField("metrics")]
    assert steps == sorted(set(steps))


def test_finishing_waits_for_a_server_that_restarts(
    lender: Server, jobs: Jobs, worker: Worker
) -> None:
    release, begun = threading.Event(), threading.Event()

    def until_released(spec: object, *, report: Reporter, **_: object) -> Result:
        begun.set()
        release.wait(180)
        report.metrics(1, {"test/mae": 5.0})
        return Result(Job.FAILED, Outcome.USER_SPEC, "no")

    name = jobs.submit(tiny_spec())
    thread = worker.begin(run=until_released)
    assert begun.wait(60)
    lender.kill()
    release.set()
    lender.start()
    join(thread)
    job = jobs.get(name)
    assert (job.state, job.attempt, job.outcome.message) == (Job.FAILED, 1, "no")
    points = [e.metrics.values for e in jobs.events(name) if e.HasField("metrics")]
    assert [dict(values) for values in points] == [{"test/mae": 5.0}]


def test_shutting_down_gives_the_job_back(jobs: Jobs, worker: Worker) -> None:
    run = StepUntilStopped()
    name = jobs.submit(tiny_spec())
    other = jobs.submit(tiny_spec())
    thread = worker.begin(run=run)
    assert run.begun.wait(60)
    worker.shutdown.set()
    join(thread)
    job = jobs.get(name)
    assert (job.state, job.attempt) == (Job.QUEUED, 1)
    assert last_state(worker.spool_dir, name) == "QUEUED"
    # It takes no further job either.
    assert jobs.get(other).attempt == 0


def test_time_limit_stops_it(jobs: Jobs, worker: Worker) -> None:
    run = StepUntilStopped()
    name = jobs.submit(tiny_spec(resources={"time_limit_seconds": 1}))
    worker.answer(run=run)
    assert run.stop is not None
    assert run.stop.reason == "time_limit"
    assert 0.9 < run.lasted < 60
    assert jobs.get(name).outcome.cause == Outcome.TIME_LIMIT


def test_a_time_limit_holds_within_one_long_step(
    jobs: Jobs, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(lease_module._TIME_TO_SEE, "time_limit", 0.2)
    monkeypatch.setitem(lease_module._PATIENCE, "time_limit", 1e6)
    release = threading.Event()

    def one_step(spec: object, *, report: Reporter, **_: object) -> Result:
        report.progress(1, 2, 1, 1)
        release.wait(360)
        return Result(Job.SUCCEEDED)

    name = jobs.submit(tiny_spec(resources={"time_limit_seconds": 1}))
    thread = worker.begin(run=one_step)
    wait_until(lambda: worker.ended_with, timeout=20, what="its process is ended")
    assert jobs.get(name).outcome.cause == Outcome.TIME_LIMIT
    worker.shutdown.set()
    release.set()
    join(thread)


def test_a_job_that_has_seen_its_time_limit_may_end_in_order(
    jobs: Jobs, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[float] = []
    look = lease_module.LeaseKeeper._look_at_the_clock

    def counted(keeper: lease_module.LeaseKeeper) -> None:
        look(keeper)
        if keeper._control.is_answered:
            looks.append(time.monotonic())

    monkeypatch.setattr(lease_module.LeaseKeeper, "_look_at_the_clock", counted)
    monkeypatch.setitem(lease_module._TIME_TO_SEE, "time_limit", 0.0)

    def ends_slowly(spec: object, *, control: Control, **_: object) -> Result:
        while control.check() is None:
            pass
        # As while it writes its last checkpoint.
        wait_until(lambda: len(looks) > 2, timeout=20, what="it is looked at")
        return Result(Job.FAILED, Outcome.TIME_LIMIT, "in order")

    name = jobs.submit(tiny_spec(resources={"time_limit_seconds": 1}))
    worker.answer(run=ends_slowly)
    assert worker.ended_with == []
    assert jobs.get(name).outcome.message == "in order"
