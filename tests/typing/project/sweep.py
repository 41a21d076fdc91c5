"""A sweep over losses, as a script: what each call of the client gives."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import assert_type

from talweg.client import (
    Artifact,
    BatchError,
    Client,
    Comparison,
    ComparisonGroup,
    Goal,
    InvalidSpec,
    Job,
    JobFailed,
    JobMetrics,
    JobResult,
    JobState,
    RegisteredModel,
    StoredDataset,
    Sweep,
    SweepAnswer,
    SweepState,
    TalwegError,
    Trial,
    TrialState,
    Violation,
    compare_url,
    read_jobs,
)
from talweg.v1.catalog_pb2 import DatasetEntry, LossEntry, ModelEntry, OptimizerEntry, TaskEntry
from talweg.v1.jobs_pb2 import CollectJobsResponse, Divergence, Event, MetricSummary, Outcome
from talweg.v1.jobs_pb2 import Job as JobMessage
from talweg.v1.recommendations_pb2 import RecommendLossResponse
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.stored_datasets_pb2 import DataColumn
from talweg.v1.sweeps_pb2 import Sweep as SweepMessage
from talweg.v1.sweeps_pb2 import SweepEvent, SweepSpec
from talweg.v1.system_pb2 import GetStatusResponse, WorkerInfo

SPEC = {"task": "regression", "dataset": "diabetes", "model": {"mlp": {"hidden": [64]}}}


def submit(client: Client) -> list[Job]:
    """Submit in all ways there are."""
    assert_type(client.submit("job.yaml"), Job)
    assert_type(client.submit(Path("job.yaml"), request_id="once", validate_only=True), Job)
    assert_type(client.submit(JobSpec()), Job)
    assert_type(read_jobs("batch.yaml", overrides=["loss=huber"]), list[JobSpec])
    with_errors = client.submit_many([SPEC], return_errors=True)
    assert_type(with_errors, list[Job | TalwegError])
    return client.submit_many({**SPEC, "loss": loss} for loss in ("mse", "huber"))


def refused(client: Client) -> tuple[Violation, ...]:
    """Read what is wrong with a spec."""
    try:
        client.submit({"task": "regresion"})
    except InvalidSpec as error:
        assert_type(error.violations, tuple[Violation, ...])
        assert_type(error.violations[0].field, str)
        assert_type(error.reason, str)
        return error.violations
    try:
        client.submit_many([SPEC])
    except BatchError as error:
        assert_type(error.failures, tuple[tuple[int, TalwegError], ...])
    return ()


def follow(client: Client) -> None:
    """Follow jobs to their end."""
    job = client.job("jobs/k3b7qwmz2xya")
    assert_type(client.jobs(filter="state = RUNNING", limit=5), Iterator[Job])
    assert_type(job.name, str)
    assert_type(job.state, JobState)
    assert_type(job.spec, JobSpec)
    assert_type(job.message, JobMessage)
    assert_type(job.outcome, Outcome | None)
    assert_type(job.tracking_url, str | None)
    watched: Generator[Event] = job.watch(after=3)
    for event in watched:
        assert_type(event.progress.step, int)
        assert_type(event.log.text, str)
    assert_type(job.logs(), Iterator[Event])
    assert_type(job.wait(timedelta(minutes=5)), Job)
    assert_type(client.wait([job], timeout=2.5), list[Job])
    assert_type(compare_url([job]), str | None)
    assert_type(job.cancel("enough", grace=5), Job)
    assert_type(job.pause(), Job)
    assert_type(job.resume(), Job)
    assert_type(job.retry(), Job)
    assert_type(job.continue_("training.epochs=40", step=100), Job)
    assert_type(job.replay(12, without=[3]), Job)
    assert_type(client.collect(timedelta(days=30), keep="last"), CollectJobsResponse)


def results(job: Job) -> float:
    """Read the results of a job."""
    try:
        result = job.result(timeout=60)
    except JobFailed as error:
        assert_type(error.result, JobResult)
        assert_type(error.outcome.message, str)
        assert_type(error.result.divergence, Divergence | None)
        raise
    assert_type(result.metrics, Mapping[str, float])
    metrics = job.metrics(["val/"], points=True)
    assert_type(metrics, JobMetrics)
    assert_type(metrics.summaries, Mapping[str, MetricSummary])
    assert_type(metrics.series("val/mae"), list[tuple[int, float]])
    assert_type(job.artifacts("plots"), list[Artifact])
    assert_type(job.download("model", to="trained"), list[Path])
    assert_type(job.model().classes, tuple[str, ...])
    predicted = job.predict({"area": [50, 60], "town": ["Ulm", None]}, remote=True)
    assert_type(predicted, dict[str, list[str | int | float]])
    assert_type(job.export_onnx("model.onnx").difference, float)
    assert_type(job.predict_file("new.csv", "predictions.csv"), int)
    assert_type(job.register("houses", alias="champion"), RegisteredModel)
    return result.metrics["test/mae"]


def compare(client: Client, jobs: Sequence[Job]) -> str:
    """Compare jobs."""
    comparison = client.compare(jobs, metric="test/mae", group_by=["loss"])
    assert_type(comparison, Comparison)
    assert_type(comparison.goal, Goal)
    assert_type(comparison.groups, tuple[ComparisonGroup, ...])
    assert_type(comparison.groups[0].mean, float | None)
    assert_type(comparison.series(), list[list[list[tuple[int, float]]]])
    assert_type(comparison.table(), list[list[str]])
    return str(comparison)


def data(client: Client) -> StoredDataset:
    """Upload data, and look at them."""
    houses = client.upload("houses.csv", read={"delimiter": ";"}, on_progress=print)
    assert_type(client.stored_datasets(name="houses"), Iterator[StoredDataset])
    assert_type(client.stored_dataset("houses"), StoredDataset)
    assert_type(houses.refresh().columns, Sequence[DataColumn])
    assert_type(houses.create_time, datetime)
    return houses


def catalogue(client: Client) -> None:
    """Ask what there is."""
    assert_type(client.losses("regression"), list[LossEntry])
    assert_type(client.tasks(), list[TaskEntry])
    assert_type(client.models(), list[ModelEntry])
    assert_type(client.datasets(), list[DatasetEntry])
    assert_type(client.optimizers(), list[OptimizerEntry])
    ranked = client.recommend("multiclass", imbalance=50)
    assert_type(ranked, RecommendLossResponse)
    assert_type(client.status(), GetStatusResponse)
    assert_type(client.workers(), list[WorkerInfo])


def sweep(client: Client) -> str:
    """Create a sweep, follow it, and read its answer."""
    created = client.sweep({"base": SPEC, "space": [{"path": "loss", "values": ["mse", "mae"]}]})
    assert_type(created, Sweep)
    assert_type(client.sweep("sweep.yaml", request_id="once", validate_only=True), Sweep)
    assert_type(client.sweep(SweepSpec()), Sweep)
    assert_type(client.get_sweep("sweeps/k3b7qwmz2xya"), Sweep)
    assert_type(client.sweeps(states=[SweepState.RUNNING, "PAUSED"]), Iterator[Sweep])
    watched: Generator[SweepEvent] = created.watch(after=3)
    for event in watched:
        assert_type(Trial.of(event.ended).state, TrialState)
    assert_type(created.wait(timedelta(hours=1), on_event=print), Sweep)
    assert_type(created.state, SweepState)
    assert_type(created.message, SweepMessage)
    assert_type(created.spec, SweepSpec)
    assert_type(created.trials(best=True, states=["DIVERGED"], limit=5), Iterator[Trial])
    assert_type(created.best, tuple[Trial, ...])
    assert_type(created.jobs(), Iterator[Job])
    assert_type(created.pause().resume().update(seeds=3).cancel("enough"), Sweep)
    assert_type(created.retry(), int)
    answer = created.answer()
    assert_type(answer, SweepAnswer)
    assert_type(answer.comparison, Comparison | None)
    assert_type(answer.chosen[0].value, float | None)
    assert_type(answer.remarks, tuple[str, ...])
    return answer.text


def main() -> None:
    """Run the sweep."""
    with Client("127.0.0.1:7070", timeout=timedelta(seconds=5)) as client:
        assert_type(client, Client)
        print(compare(client, client.wait(submit(client))))
