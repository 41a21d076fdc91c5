"""The summary of a sweep reaches MLflow once, whatever happens, and again at each end."""

import json
from dataclasses import replace
from pathlib import Path

import mlflow
import pytest
from mlflow.entities import Run, ViewType
from tests._parts import wait_until
from tests.worker._jobs import Jobs
from tests.worker.tracking.proxies import Proxy

from talweg.reports import ReportContents
from talweg.server.services.sweep_runs import HELD_FOR
from talweg.spec import from_dict
from talweg.v1.jobs_pb2 import Event, Job, MetricPoint, MetricSummary, Outcome
from talweg.v1.options_pb2 import MINIMIZE
from talweg.v1.sweeps_pb2 import (
    AnswerSweepResponse,
    CancelSweepRequest,
    CreateSweepRequest,
    GetSweepRequest,
    Sweep,
    SweepSpec,
    UpdateSweepRequest,
)
from talweg.v1.workers_pb2 import (
    ClaimJobsRequest,
    FinishJobRequest,
    Lease,
    ReportProgressRequest,
)
from talweg.worker.settings import Settings
from talweg.worker.tracking import runs
from talweg.worker.tracking.delivery import Delivery
from talweg.worker.tracking.errors import TrackingAwayError
from talweg.worker.tracking.sweep_delivery import summary
from talweg.worker.tracking.sweep_delivery.contents import _names, view_of
from talweg.worker.tracking.sweep_delivery.duty import SweepDuty
from talweg.worker.tracking.sweep_delivery.summary import SummaryDelivery

QUEUE = "default"
VALUES = {"mse": 3.0, "mae": 1.0, "huber": 2.0}


@pytest.fixture(autouse=True)
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary, "AT_WORK_S", 0.0)


class Swept:
    """A sweep on a real server, whose jobs get the results that they are given here."""

    def __init__(self, jobs: Jobs, experiment: str, **fields: object) -> None:
        self._jobs = jobs
        base = {
            "task": "regression",
            "dataset": "diabetes",
            "model": {"mlp": {"hidden": [8]}},
            "training": {"steps": 5},
            "experiment": experiment,
            "tags": {"owner": "ada"},
        }
        losses = ["mse", "mae", {"huber": {"delta": 2}}]
        spec = from_dict(
            {
                "base": base,
                "space": [{"path": "loss", "values": losses}],
                "objective": "val/mae",
                "cache": "off",
                **fields,
            },
            SweepSpec,
            path="",
        )
        made = jobs.channel.sweeps.CreateSweep(CreateSweepRequest(spec=spec))
        self.name = made.sweep.name

    def get(self) -> Sweep:
        return self._jobs.channel.sweeps.GetSweep(GetSweepRequest(name=self.name))

    def work(self) -> Sweep:
        """Finish its jobs until it has ended."""

        def worked() -> bool:
            claimed = self._jobs.channel.workers.ClaimJobs(
                ClaimJobsRequest(queue=QUEUE, worker="test", limit=100)
            ).assignments
            for each in claimed:
                loss = str(each.spec.loss.WhichOneof("kind"))
                value = VALUES[loss] + each.spec.training.seed / 100
                self._jobs.channel.workers.FinishJob(_finished(each.lease, value))
            return self.get().HasField("end_time")

        wait_until(worked, timeout=60, what="the sweep has ended")
        return self.get()


def _finished(lease: Lease, value: float) -> FinishJobRequest:
    values = {"val/mae": value, "test/mae": 10 * value}
    last = ReportProgressRequest(
        lease=lease,
        sequence=1,
        events=[Event(metrics=MetricPoint(step=5, values=values))],
        summaries=[
            MetricSummary(
                name=name, first=each, first_step=5, last=each, last_step=5, best=each,
                best_step=5, count=1, goal=MINIMIZE,
            )
            for name, each in values.items()
        ],
    )  # fmt: skip
    outcome = Outcome(state=Job.SUCCEEDED)
    return FinishJobRequest(lease=lease, outcome=outcome, last_report=last)


def duty_of(settings: Settings) -> SweepDuty:
    """Return what a delivery process would do of sweeps: another one at each call."""
    return Delivery(settings)._sweeps


def summaries(tracking: mlflow.MlflowClient, experiment: str) -> list[Run]:
    found = tracking.get_experiment_by_name(experiment)
    if found is None:
        return []
    return list(
        tracking.search_runs(
            [found.experiment_id],
            "tags.`talweg.kind` = 'sweep'",
            run_view_type=ViewType.ACTIVE_ONLY,
        )
    )


def test_the_summary_of_a_sweep_holds_its_answer_and_follows_it(
    jobs: Jobs, settings: Settings, tracking: mlflow.MlflowClient, tmp_path: Path
) -> None:
    compare = {"path": "loss", "final_seeds": 2, "margin": "1%"}
    swept = Swept(jobs, "summarised", compare=compare)
    duty = duty_of(settings)
    # While it goes on nothing is due.
    assert duty.carry_out() == 0
    sweep = swept.work()
    assert not sweep.HasField("tracking")
    assert duty.carry_out() == 1
    assert duty.carry_out() == 0
    (run,) = summaries(tracking, "summarised")
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "3 values of loss on diabetes"
    assert run.info.end_time == sweep.end_time.ToMilliseconds()
    told = swept.get().tracking
    assert (told.run_id, told.complete) == (run.info.run_id, True)
    assert run.info.run_id in told.url
    metrics, tags = run.data.metrics, run.data.tags
    assert metrics["best/val/mae"] == pytest.approx(1.0)
    assert metrics["mean/val/mae"] == pytest.approx(2.0)
    assert metrics["best/val/mae of huber delta 2"] == pytest.approx(2.0)
    final = [metrics[f"mean/test/mae of {name}"] for name in ("mse", "mae", "huber delta 2")]
    assert final[1] == metrics["best/test/mae"] < final[2] < final[0]
    assert metrics["difference/test/mae of mae"] == pytest.approx(final[1] - final[0])
    assert (metrics["trials"], metrics["jobs/succeeded"]) == (3, 9)
    assert run.data.params["sweep.varies"] == "loss"
    assert run.data.params["sweep.baseline"] == "mse"
    assert run.data.params["dataset"] == "diabetes"
    assert "loss" not in run.data.params
    assert tags["talweg.sweep"] == sweep.name.removeprefix("sweeps/")
    assert tags["owner"] == "ada"
    assert "test/mae over fresh seeds" in tags["mlflow.note.content"]
    files = [each.path for each in tracking.list_artifacts(run.info.run_id)]
    assert files == ["report.html", "sweep.yaml"]
    experiment = tracking.get_experiment(run.info.experiment_id)
    id_ = tags["talweg.sweep"]
    view = json.loads(experiment.tags[f"mlflow.sharedViewState.talweg-sweep-{id_}"])
    assert view["searchFilter"] == f"tags.`talweg.sweep` = '{id_}'"
    parallel = view["compareRunCharts"][0]
    assert (parallel["selectedParams"], parallel["selectedMetrics"]) == (
        ["loss"],
        ["val/mae", "test/mae"],
    )
    page = Path(
        tracking.download_artifacts(run.info.run_id, "report.html", str(tmp_path))
    ).read_text("utf-8")
    assert "Compared values" in page
    assert sweep.name in page


def test_a_sweep_that_goes_on_is_summarised_again_in_the_same_run(
    jobs: Jobs, settings: Settings, tracking: mlflow.MlflowClient
) -> None:
    swept = Swept(jobs, "continued")
    swept.work()
    assert duty_of(settings).carry_out() == 1
    update = UpdateSweepRequest(name=swept.name, seeds=3)
    jobs.channel.sweeps.UpdateSweep(update)
    # What it shows now is of its first end, and is so until it ends again.
    assert duty_of(settings).carry_out() == 0
    swept.work()
    assert not swept.get().tracking.complete
    assert duty_of(settings).carry_out() == 1
    assert swept.get().tracking.complete
    (run,) = summaries(tracking, "continued")
    assert run.data.metrics["best/val/mae"] == pytest.approx(1.01)
    assert run.data.metrics["jobs/succeeded"] == 9


def test_a_sweep_that_has_gone_on_since_it_was_handed_out_is_left_until_its_next_end(
    jobs: Jobs, settings: Settings, tracking: mlflow.MlflowClient
) -> None:
    swept = Swept(jobs, "gone on")
    swept.work()
    duty = duty_of(settings)
    (due,) = duty._record.sweep_runs(duty._holder, limit=1)
    assert due.sweep == swept.name
    jobs.channel.sweeps.UpdateSweep(UpdateSweepRequest(name=swept.name, seeds=2))
    early = SummaryDelivery(swept.name, record=duty._record, runs=duty._runs, reader=duty._reader)
    assert not early.advance(due)
    assert not swept.get().tracking.complete
    swept.work()
    assert duty.carry_out() == 1
    (run,) = summaries(tracking, "gone on")
    assert run.info.end_time == swept.get().end_time.ToMilliseconds()
    assert run.data.metrics["jobs/succeeded"] == 6


def test_a_sweep_without_results_is_summarised(
    jobs: Jobs, settings: Settings, tracking: mlflow.MlflowClient
) -> None:
    swept = Swept(jobs, "cancelled")
    jobs.channel.sweeps.CancelSweep(CancelSweepRequest(name=swept.name))
    wait_until(lambda: swept.get().HasField("end_time"), timeout=60, what="it has ended")
    assert duty_of(settings).carry_out() == 1
    (run,) = summaries(tracking, "cancelled")
    assert run.info.status == "KILLED"
    assert run.data.tags["talweg.state"] == "CANCELLED"


def test_a_summary_whose_making_is_not_answered_is_made_once(
    jobs: Jobs, settings: Settings, tracking: mlflow.MlflowClient, proxy: Proxy
) -> None:
    swept = Swept(jobs, "lost answer")
    swept.work()
    duty = duty_of(replace(settings, tracking_uri=proxy.url))
    proxy.loses = "/runs/create"
    with pytest.raises(TrackingAwayError):
        duty.carry_out()
    assert len(summaries(tracking, "lost answer")) == 1
    assert swept.get().tracking.run_id == ""
    assert duty.carry_out() == 1
    (run,) = summaries(tracking, "lost answer")
    assert swept.get().tracking.run_id == run.info.run_id
    assert run.info.status == "FINISHED"


def test_a_second_summary_that_comes_late_is_put_away(
    jobs: Jobs,
    settings: Settings,
    tracking: mlflow.MlflowClient,
    proxy: Proxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setattr(summary, "AT_WORK_S", 600.0)
    swept = Swept(jobs, "late")
    swept.work()
    duty = duty_of(replace(settings, tracking_uri=proxy.url))
    proxy.holds = "/runs/create"
    with pytest.raises(TrackingAwayError):
        duty.carry_out()
    assert summaries(tracking, "late") == []
    proxy.holds = ""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    # Nothing says by now whether the first request was lost, or is only slow.
    assert duty.carry_out() == 0
    (kept,) = summaries(tracking, "late")
    assert not swept.get().tracking.complete
    proxy.opened.set()
    wait_until(lambda: len(summaries(tracking, "late")) == 2, timeout=20, what="a second one")
    monkeypatch.setattr(summary, "AT_WORK_S", 0.0)
    assert duty.carry_out() == 1
    (run,) = summaries(tracking, "late")
    assert run.info.run_id == kept.info.run_id == swept.get().tracking.run_id
    assert swept.get().tracking.complete


def test_a_summary_that_a_person_has_deleted_stays_away(
    jobs: Jobs, settings: Settings, tracking: mlflow.MlflowClient
) -> None:
    swept = Swept(jobs, "deleted")
    swept.work()
    assert duty_of(settings).carry_out() == 1
    tracking.delete_run(swept.get().tracking.run_id)
    jobs.channel.sweeps.UpdateSweep(UpdateSweepRequest(name=swept.name, seeds=2))
    swept.work()
    assert duty_of(settings).carry_out() == 1
    assert summaries(tracking, "deleted") == []
    assert swept.get().tracking.deleted


def test_a_summary_is_held_for_longer_than_mlflow_may_work_on_it() -> None:
    assert HELD_FOR.total_seconds() > runs.AT_WORK_S


def test_names_of_metrics_are_such_as_mlflow_takes_and_differ() -> None:
    labels = ["huber delta=2", "huber delta (2)", "mse", "ß" * 300, "("]
    names = _names(labels)
    assert list(names.values()) == ["huber delta 2", "huber delta 2 2", "mse", "value", "value 2"]


@pytest.mark.parametrize("session", ["", "s"])
def test_the_page_of_a_sweep_shows_metrics_that_its_jobs_have(session: str) -> None:
    spec = SweepSpec(session=session) if session else SweepSpec()
    spec.objective.metric, spec.compare.metric = "val/mae", "test/mae"
    given = ReportContents(Sweep(name="sweeps/x", spec=spec), AnswerSweepResponse(), [], MINIMIZE)
    _, value = view_of(given)
    assert ("test/mae" in value) == (not session)
    assert "val/mae" in value
