"""What a worker may not say: refused as a whole, without a trace in the record."""

from itertools import product
from typing import Any

import grpc
import pytest
from tests._hostile import ADDRESSES, CHECKPOINTS, DIGESTS
from tests.server.conftest import Running
from tests.server.samples import SUCCEEDED, Rules, held, point, spec

from talweg.server.errors import InvalidRequest, InvalidSpec
from talweg.server.services.attempts.reports import Report
from talweg.server.services.submission.preparing import Submission
from talweg.server.store.record.rows import JobRow
from talweg.spec import CheckpointName, has_control
from talweg.v1.jobs_pb2 import (
    CancelJobRequest,
    Checkpoint,
    Event,
    GetJobRequest,
    GuardDecision,
    Job,
    LogLine,
    MetricPoint,
    MetricSummary,
    Outcome,
    PauseJobRequest,
    SubmitJobRequest,
    TrackingRun,
    WatchJobRequest,
)
from talweg.v1.jobs_pb2 import Warning as JobWarning
from talweg.v1.workers_pb2 import (
    ClaimJobsRequest,
    FinishJobRequest,
    Kept,
    ReportProgressRequest,
    SetTrackingRunRequest,
)

# Renames the terminal, clears it; the same in one character; a line feed; DEL; NUL.
ORDERS = ["\x1b]0;mine\x07", "\x1b[2J", "\x9b2J", "a\nb", "\x7f", "a\0b", "\r"]
BAD_METRICS = ["", "a\nb", "train/\x1b[31mloss", "a\0", "\x9b", "x" * 501]


async def refused(call: Any) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    details = error.value.details() or ""
    assert not has_control(details)
    return details


async def test_a_name_of_no_checkpoint_changes_nothing(rules: Rules) -> None:
    row = await rules.running()
    good = CheckpointName(row.name, 10, 1)
    kept = Kept(checkpoints=[Checkpoint(name=str(good), step=10, attempt=1)])
    await rules.leases.report(held(row), Report(1, kept=kept))
    before = rules.get(row)
    kept.checkpoints.add(step=10, attempt=1)
    hostile = Report(2, [point(10, train_loss=1.0)], kept=kept)
    for name in CHECKPOINTS:
        kept.checkpoints[1].name = name.replace("jobs/a/", f"{row.name}/")
        with pytest.raises(InvalidRequest, match=r"kept.checkpoints\[1\].name"):
            await rules.leases.report(held(row), hostile)
    for outcome in (SUCCEEDED, Outcome(state=Job.QUEUED)):
        with pytest.raises(InvalidRequest, match=r"kept.checkpoints\[1\].name"):
            await rules.leases.finish(held(row), outcome, hostile)
    # The lease is as it was, neither renewed nor lost.
    assert rules.get(row) == before
    await rules.leases.report(held(row), Report(2))
    assert [each.name for each in rules.get(row).kept] == [str(good)]


async def test_what_is_refused_renews_no_lease_and_the_lease_stays_good(running: Running) -> None:
    job = (await running.jobs.SubmitJob(SubmitJobRequest(spec=spec()))).job
    claim = ClaimJobsRequest(queue="default", worker="w")
    (assignment,) = (await running.workers.ClaimJobs(claim)).assignments
    lease = assignment.lease
    victim = f"{job.name}/checkpoints/../../../../../victim/important"
    kept = Kept(checkpoints=[Checkpoint(name=victim, step=1, attempt=1)])
    hostile = ReportProgressRequest(lease=lease, sequence=1, kept=kept)
    assert "kept.checkpoints[0].name" in await refused(running.workers.ReportProgress(hostile))
    finish = FinishJobRequest(lease=lease, outcome=SUCCEEDED, last_report=hostile)
    await refused(running.workers.FinishJob(finish))
    await running.workers.ReportProgress(ReportProgressRequest(lease=lease))
    stored = await running.jobs.GetJob(GetJobRequest(name=job.name))
    assert stored.state == Job.RUNNING
    assert not stored.checkpoints
    # The next attempt is told of none.
    back = FinishJobRequest(lease=lease, outcome=Outcome(state=Job.QUEUED))
    await running.workers.FinishJob(back)
    (again,) = (await running.workers.ClaimJobs(claim)).assignments
    assert not again.checkpoints


async def test_names_of_metrics(rules: Rules) -> None:
    row = await rules.running()
    before = rules.get(row)
    for name in BAD_METRICS:
        report = Report(1, summaries=[MetricSummary(name=name, last=1.0)])
        with pytest.raises(InvalidRequest, match=r"summaries\[0\].name: must have"):
            await rules.leases.report(held(row), report)
    assert rules.get(row) == before
    # A point's other values stay.
    values = dict.fromkeys([*BAD_METRICS, "val/f1_Iris setosa"], 1.0)
    given = Event(metrics=MetricPoint(step=1, values=values))
    await rules.leases.report(held(row), Report(1, [given]))
    assert dict(given.metrics.values) == values
    (stored,) = [each.metrics for each in rules.events(row) if each.HasField("metrics")]
    assert dict(stored.values) == {"val/f1_Iris setosa": 1.0}


async def test_digests_of_models(rules: Rules) -> None:
    row = await rules.running()
    before = rules.get(row)
    for digest in filter(None, DIGESTS):
        outcome = Outcome(state=Job.SUCCEEDED, model_sha256=digest)
        with pytest.raises(
            InvalidRequest, match=r"outcome.model_sha256: must be 64 hexadecimal digits"
        ):
            await rules.leases.finish(held(row), outcome, None)
    assert rules.get(row) == before


async def test_a_digest_that_stands_in_the_record_already_goes_nowhere(rules: Rules) -> None:
    row = await rules.finished()
    outcome = Outcome(state=Job.SUCCEEDED, model_sha256="../../../../victim")
    rules.alter(row, outcome=outcome.SerializeToString())
    with pytest.raises(InvalidSpec, match="has no stored model"):
        await rules.submission.submit(Submission(comparing(row)))


async def test_a_checkpoint_that_stands_in_the_record_already_goes_to_no_other_job(
    rules: Rules,
) -> None:
    source = await rules.finished()
    for name in CHECKPOINTS:
        name = name.replace("jobs/a/", f"{source.name}/")
        kept = Kept(checkpoints=[Checkpoint(name=name, step=10)])
        rules.alter(source, checkpoints=kept.SerializeToString())
        given = spec(continued_from={"job": source.name})
        with pytest.raises(InvalidSpec, match="which has no checkpoint"):
            await rules.submission.submit(Submission(given, validate_only=True))


def comparing(row: JobRow) -> Any:
    perceptual = {"network": {"job": row.name}, "layers": ["0"]}
    return spec(
        task={"image_translation": {}},
        dataset={"digit_scenes": {"num_samples": 60}},
        model={"unet": {"channels": [4, 8]}},
        loss={"perceptual": perceptual},
    )


async def test_unknown_causes(rules: Rules) -> None:
    row = await rules.running()
    outcome = Outcome(state=Job.FAILED, cause=99)  # type: ignore[arg-type]
    with pytest.raises(InvalidRequest, match="outcome.cause: found 99; allowed: CAUSE_UNSPEC"):
        await rules.leases.finish(held(row), outcome, None)


async def test_addresses_of_runs(rules: Rules) -> None:
    row = await rules.finished()
    for url in ADDRESSES:
        run = TrackingRun(run_id="r", url=url)
        with pytest.raises(InvalidRequest, match=r"tracking.url: must be an http or https URL"):
            await rules.tracking.set_run(row.name, expected="", run=run)
    assert not rules.get(row).tracking


async def test_ids_of_runs(rules: Rules) -> None:
    row = await rules.finished()
    wrongs = ("../r", "r/..", "r\n", "\x1b[2J", "r' OR 1=1", "x" * 201)
    for field, wrong in product(("run_id", "experiment_id"), wrongs):
        run = TrackingRun(run_id="r", experiment_id="1")
        setattr(run, field, wrong)
        with pytest.raises(InvalidRequest, match=rf"tracking.{field}: must be letters"):
            await rules.tracking.set_run(row.name, expected="", run=run)
    assert not rules.get(row).tracking


async def test_short_texts_that_a_terminal_would_obey_are_refused(running: Running) -> None:
    job = (await running.jobs.SubmitJob(SubmitJobRequest(spec=spec()))).job
    for order in ORDERS:
        await refuses(running, job.name, order)
    stored = await running.jobs.GetJob(GetJobRequest(name=job.name))
    assert stored.state == Job.QUEUED


async def refuses(running: Running, name: str, order: str) -> None:
    for call in (
        running.jobs.CancelJob(CancelJobRequest(name=name, reason=order)),
        running.jobs.PauseJob(PauseJobRequest(name=name, reason=order)),
        running.jobs.SubmitJob(SubmitJobRequest(spec=spec(), request_id=order)),
        running.workers.ClaimJobs(ClaimJobsRequest(queue="default", worker=order)),
        running.workers.ClaimJobs(ClaimJobsRequest(queue=order, worker="w")),
        running.workers.ClaimJobs(ClaimJobsRequest(queue="default", worker="w", request_id=order)),
    ):
        assert "must not contain control characters" in await refused(call)
    url = TrackingRun(run_id="r", url=f"http://host/{order}")
    tracking = SetTrackingRunRequest(job=name, tracking=url)
    await refused(running.workers.SetTrackingRun(tracking))


async def test_free_text_is_kept_with_control_characters_written_out(running: Running) -> None:
    job = (await running.jobs.SubmitJob(SubmitJobRequest(spec=spec()))).job
    claim = ClaimJobsRequest(queue="default", worker="w")
    (assignment,) = (await running.workers.ClaimJobs(claim)).assignments
    bad = "first\n\tsecond \x1b[31mred\x9b \0 ü"
    good = "first\n\tsecond \\x1b[31mred\\x9b \\x00 ü"
    decision = GuardDecision(action=GuardDecision.SKIPPED)
    decision.seen.what, decision.seen.hint = "loss", bad
    decision.seen.parameters.extend(["fine", bad])
    report = ReportProgressRequest(
        lease=assignment.lease,
        sequence=1,
        events=[
            Event(log=LogLine(level=LogLine.INFO, text=bad)),
            Event(warning=JobWarning(kind=JobWarning.DEAD_UNITS, message=bad, layers=[bad])),
            Event(guard=decision),
        ],
    )
    sent = report.SerializeToString(deterministic=True)
    await running.workers.ReportProgress(report)
    assert report.SerializeToString(deterministic=True) == sent
    outcome = Outcome(state=Job.FAILED, cause=Outcome.USER_SPEC, message=bad)
    outcome.divergence.module = bad
    finish = FinishJobRequest(lease=assignment.lease, outcome=outcome)
    # Sent again, since the answer was lost, it is known for the same.
    for _ in range(2):
        await running.workers.FinishJob(finish)
    stored = await running.jobs.GetJob(GetJobRequest(name=job.name))
    assert stored.outcome.message == stored.outcome.divergence.module == good
    (warning,) = [each for each in stored.warnings if each.kind == JobWarning.DEAD_UNITS]
    assert (warning.message, list(warning.layers)) == (good, [good])
    events = [each.event async for each in running.jobs.WatchJob(WatchJobRequest(name=job.name))]
    assert [each.log.text for each in events if each.HasField("log")] == [good]
    (guard,) = [each.guard for each in events if each.HasField("guard")]
    assert guard.seen.hint == good
    assert list(guard.seen.parameters) == ["fine", good]
    assert events[-1].finished.message == good


async def test_why_a_job_was_given_back_is_free_text_too(rules: Rules) -> None:
    row = await rules.running()
    outcome = Outcome(state=Job.QUEUED, message="out of \x1b[2J disk")
    await rules.leases.finish(held(row), outcome, None)
    assert rules.events(row)[-1].state.reason.endswith("out of \\x1b[2J disk")
