"""A request that makes something and is not answered: MLflow holds one run and one model a job."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import mlflow
import pytest
from mlflow.entities import ViewType
from tests._parts import Mlflow, wait_until
from tests.worker._jobs import Jobs, tiny_spec
from tests.worker.tracking.proxies import Proxy
from tests.worker.tracking.spools import (
    SUCCEEDED,
    keep_network,
    losses,
    runs_of,
    spool_files,
    steps_of,
    writer_of,
)
from tests.worker.tracking.test_process import delivering

from talweg.spec import job_id
from talweg.worker.settings import Settings
from talweg.worker.tracking.delivery import Delivery
from talweg.worker.tracking.job_delivery import home


@pytest.mark.parametrize("lost", ["/logged-models", "/runs/outputs"])
def test_a_run_or_a_model_whose_answer_is_lost_is_not_made_twice(
    lost: str,
    jobs: Jobs,
    settings: Settings,
    tracking: mlflow.MlflowClient,
    proxy: Proxy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Somebody's own setting for all of MLflow's clients.
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    assignment = jobs.begin(spec := tiny_spec(outputs={"model": True, "plots": False}))
    name = assignment.lease.job
    proxy.loses = "/runs/create"
    with delivering(replace(settings, tracking_uri=proxy.url), tmp_path / "log"):
        with writer_of(assignment, settings.spool_dir) as writer:
            writer.points(losses(range(1, 11)))
            writer.flush()
            wait_until(lambda: jobs.get(name).tracking.run_id, timeout=60, what="a run")
            assert not proxy.loses
            proxy.loses = lost
            keep_network(writer, spec)
            jobs.finish(assignment, SUCCEEDED)
            writer.end(state="SUCCEEDED")
        wait_until(lambda: jobs.get(name).tracking.complete, timeout=60, what="delivered")
        assert not proxy.loses
    assert proxy.num_asked("/runs/create") == proxy.num_asked("/logged-models") == 1
    (run,) = runs_of(tracking, spec, name)
    assert run.info.status == "FINISHED"
    assert steps_of(tracking, run, "train/loss") == list(range(1, 11))
    (model,) = tracking.search_logged_models(
        [run.info.experiment_id], f"source_run_id = '{run.info.run_id}'"
    )
    assert model.status == "READY"
    assert run.outputs is not None
    assert [output.model_id for output in run.outputs.model_outputs] == [model.model_id]
    assert tracking.list_logged_model_artifacts(model.model_id)


@pytest.mark.parametrize("holds_something", [False, True])
def test_a_run_that_is_made_late_is_put_away(
    holds_something: bool,
    jobs: Jobs,
    settings: Settings,
    tracking: mlflow.MlflowClient,
    proxy: Proxy,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    assignment = jobs.begin(spec := tiny_spec())
    name = assignment.lease.job
    through = Delivery(replace(settings, tracking_uri=proxy.url))
    proxy.holds = "/runs/create"
    with writer_of(assignment, settings.spool_dir) as writer:
        writer.points(losses(range(1, 11)))
        writer.flush()
        with monkeypatch.context() as patch:
            patch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
            through.deliver()
        assert proxy.held.is_set()
        assert runs_of(tracking, spec, name) == []
        proxy.holds = ""
        # Whether it is this process or another that goes on.
        Delivery(settings).deliver()
        (kept,) = runs_of(tracking, spec, name)
        proxy.opened.set()
        wait_until(lambda: len(runs_of(tracking, spec, name)) == 2, timeout=20, what="a second")
        (surplus,) = (
            run for run in runs_of(tracking, spec, name) if run.info.run_id != kept.info.run_id
        )
        if holds_something:
            tracking.log_metric(surplus.info.run_id, "by hand", 1.0)
        jobs.finish(assignment, SUCCEEDED)
        writer.end(state="SUCCEEDED")
    delivery = Delivery(settings)
    delivery.deliver()
    # MLflow may be at work on another one.
    assert spool_files(settings) == [job_id(name)]
    assert tracking.get_run(kept.info.run_id).info.status == "RUNNING"
    monkeypatch.setattr(home, "AT_WORK_S", 0.0)
    delivery.deliver()
    assert spool_files(settings) == []
    assert f"second run {surplus.info.run_id} beside {kept.info.run_id}" in caplog.text
    surplus = tracking.get_run(surplus.info.run_id)
    if holds_something:
        assert surplus.info.status == "KILLED"
        assert surplus.data.tags["talweg.surplus_of"] == kept.info.run_id
        assert surplus.data.metrics == {"by hand": 1.0}
    else:
        assert surplus.info.lifecycle_stage == "deleted"
    run = tracking.get_run(kept.info.run_id)
    assert run.info.status == "FINISHED"
    assert jobs.get(name).tracking.run_id == run.info.run_id
    assert steps_of(tracking, run, "train/loss") == list(range(1, 11))


@pytest.mark.faults
def test_a_run_that_is_asked_for_while_the_database_is_locked_is_made_once(
    jobs: Jobs,
    settings: Settings,
    tracking: mlflow.MlflowClient,
    mlflow_server: Mlflow,
    proxy: Proxy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    assignment = jobs.begin(tiny_spec(experiment="locked"))
    name = assignment.lease.job
    home = tracking.create_experiment("locked")
    through = replace(settings, tracking_uri=proxy.url)
    # The database is locked as the first request reaches the proxy.
    proxy.holds = "/runs/create"
    with (
        closing(sqlite3.connect(mlflow_server.folder / "mlflow.db", timeout=30)) as database,
        delivering(through, tmp_path / "log"),
        writer_of(assignment, settings.spool_dir) as writer,
    ):
        database.isolation_level = None
        writer.points(losses(range(1, 11)))
        writer.flush()
        assert proxy.held.wait(360)
        database.execute("BEGIN EXCLUSIVE")
        proxy.holds = ""
        proxy.opened.set()
        wait_until(
            lambda: proxy.num_asked("/runs/create") + proxy.num_asked("/runs/search") > 1,
            timeout=60,
            what="it has tried again",
        )
        database.execute("ROLLBACK")
        jobs.finish(assignment, SUCCEEDED)
        writer.end(state="SUCCEEDED")
        wait_until(lambda: jobs.get(name).tracking.complete, timeout=90, what="delivered")
    (run,) = tracking.search_runs([home], run_view_type=ViewType.ACTIVE_ONLY)
    assert run.info.status == "FINISHED"
    assert steps_of(tracking, run, "train/loss") == list(range(1, 11))
