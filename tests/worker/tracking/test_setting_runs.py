"""With `runs: per_setting` a setting has one run in MLflow, with its seeds inside."""

import mlflow
import pytest
from mlflow.entities import Run, ViewType
from tests._parts import wait_until
from tests.worker._jobs import Jobs
from tests.worker.tracking.spools import SUCCEEDED, losses, spool_files, writer_of
from tests.worker.tracking.test_sweep_summaries import Swept, duty_of, summaries

from talweg.spec import job_id
from talweg.v1.sweeps_pb2 import ListTrialsRequest, Trial, UpdateSweepRequest
from talweg.v1.workers_pb2 import Assignment, ClaimJobsRequest
from talweg.worker.settings import Settings
from talweg.worker.tracking.delivery import Delivery
from talweg.worker.tracking.errors import TrackingAwayError
from talweg.worker.tracking.runs import Runs
from talweg.worker.tracking.sweep_delivery import setting_delivery


@pytest.fixture(autouse=True)
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setting_delivery, "AT_WORK_S", 0.0)


def settings_of(tracking: mlflow.MlflowClient, experiment: str) -> list[Run]:
    found = tracking.get_experiment_by_name(experiment)
    assert found is not None
    listed = tracking.search_runs(
        [found.experiment_id],
        "tags.`talweg.kind` = 'setting'",
        run_view_type=ViewType.ACTIVE_ONLY,
    )
    return sorted(listed, key=lambda run: int(run.data.tags["talweg.trial"]))


def trials_of(jobs: Jobs, swept: Swept) -> list[Trial]:
    request = ListTrialsRequest(sweep=swept.name)
    return list(jobs.channel.sweeps.ListTrials(request).trials)


def history(tracking: mlflow.MlflowClient, run: Run, metric: str) -> list[tuple[int, float]]:
    points = tracking.get_metric_history(run.info.run_id, metric)
    return [(each.step, each.value) for each in points]


def value(tracking: mlflow.MlflowClient, run: Run, metric: str) -> float:
    """Return the value of a metric that has one point."""
    ((_, only),) = history(tracking, run, metric)
    return only


def test_the_run_of_a_setting_holds_its_seeds_and_their_means(
    jobs: Jobs, settings: Settings, tracking: mlflow.MlflowClient
) -> None:
    swept = Swept(jobs, "per setting", seeds=2, runs="per_setting")
    swept.work()
    assert duty_of(settings).carry_out() == 4
    assert duty_of(settings).carry_out() == 0
    runs = settings_of(tracking, "per setting")
    assert len(runs) == 3
    assert len(summaries(tracking, "per setting")) == 1
    run = runs[0]
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "loss=mse"
    assert history(tracking, run, "seed 0/val/mae") == [(5, 3.0)]
    assert history(tracking, run, "seed 1/val/mae") == [(5, 3.01)]
    assert value(tracking, run, "val/mae") == pytest.approx(3.005)
    assert value(tracking, run, "sd/test/mae") == pytest.approx(0.1 / 2**0.5)
    params = run.data.params
    assert (params["loss"], params["sweep.seeds"]) == ("mse", "0, 1")
    assert "training.seed" not in params
    assert run.data.tags["owner"] == "ada"
    for trial, each in zip(trials_of(jobs, swept), runs, strict=True):
        for name in trial.jobs:
            told = jobs.get(name).tracking
            assert (told.run_id, told.complete) == (each.info.run_id, True)


def test_what_was_begun_and_broken_off_is_neither_lost_nor_doubled(
    jobs: Jobs, settings: Settings, tracking: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    swept = Swept(jobs, "broken off", seeds=2, runs="per_setting")
    swept.work()
    real, calls = Runs.close, []

    def breaking(self: Runs, run_id: str, *, status: str, end_ms: int) -> None:
        calls.append(run_id)
        if len(calls) <= 2:
            raise TrackingAwayError("killed here")
        real(self, run_id, status=status, end_ms=end_ms)

    monkeypatch.setattr(Runs, "close", breaking)
    duty = duty_of(settings)
    for _ in range(2):
        with pytest.raises(TrackingAwayError):
            duty.carry_out()
    duty.carry_out()
    runs = settings_of(tracking, "broken off")
    assert [run.data.tags["talweg.trial"] for run in runs] == ["1", "2", "3"]
    assert not {run.info.run_id for run in runs} & set(calls[:2])
    assert history(tracking, runs[0], "seed 1/val/mae") == [(5, 3.01)]


def test_a_setting_that_has_gone_on_has_a_run_of_all_its_seeds(
    jobs: Jobs, settings: Settings, tracking: mlflow.MlflowClient
) -> None:
    swept = Swept(jobs, "more seeds", seeds=1, runs="per_setting")
    swept.work()
    assert duty_of(settings).carry_out() == 4
    (first, *_) = settings_of(tracking, "more seeds")
    # Of a single seed there is no mean.
    assert {"val/mae", "test/mae"} == set(first.data.metrics)
    jobs.channel.sweeps.UpdateSweep(UpdateSweepRequest(name=swept.name, seeds=2))
    assert duty_of(settings).carry_out() == 0
    swept.work()
    assert duty_of(settings).carry_out() == 4
    runs = settings_of(tracking, "more seeds")
    assert len(runs) == 3
    assert value(tracking, runs[0], "val/mae") == pytest.approx(3.005)
    names = trials_of(jobs, swept)[0].jobs
    assert {jobs.get(name).tracking.run_id for name in names} == {runs[0].info.run_id}


def test_a_job_of_such_a_sweep_has_no_run_of_its_own(
    jobs: Jobs, settings: Settings, delivery: Delivery, tracking: mlflow.MlflowClient
) -> None:
    swept = Swept(jobs, "no run", runs="per_setting")
    request = ClaimJobsRequest(queue="default", worker="test", limit=1)
    found: list[Assignment] = []

    def is_claimed() -> bool:
        found.extend(jobs.channel.workers.ClaimJobs(request).assignments)
        return bool(found)

    wait_until(is_claimed, timeout=60, what="a job is claimed")
    claimed = found[0]
    with writer_of(claimed, settings.spool_dir) as writer:
        writer.points(losses(range(1, 5)))
        jobs.finish(claimed, SUCCEEDED)
        writer.end(state="SUCCEEDED")
    delivery.deliver()
    assert job_id(claimed.lease.job) not in spool_files(settings)
    assert tracking.get_experiment_by_name("no run") is None
    assert not jobs.get(claimed.lease.job).tracking.run_id
    swept.work()
    duty_of(settings).carry_out()
    run = settings_of(tracking, "no run")[0]
    # A setting's run is not deleted with one of its jobs.
    delivery._runs.erase(run.info.run_id, job_id="another")
    assert tracking.get_run(run.info.run_id).info.lifecycle_stage == "active"
