"""Delivery beside MLflow's server, to its database and its files."""

import os
import shutil
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import psutil
import pytest
from mlflow.entities import Metric, ViewType
from sqlalchemy import event
from tests._parts import Mlflow, wait_until
from tests.worker._jobs import Jobs, tiny_spec
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
from talweg.worker.tracking.backends.database import Database
from talweg.worker.tracking.delivery import Delivery
from talweg.worker.tracking.errors import (
    NothingDoneError,
    RefusedError,
    RunGoneError,
    TrackingError,
)


@pytest.fixture
def local(settings: Settings, mlflow_server: Mlflow) -> Settings:
    """As an embedded stack sets it."""
    return replace(
        settings,
        tracking_database=mlflow_server.folder / "mlflow.db",
        tracking_artifacts=mlflow_server.folder / "artifacts",
    )


@pytest.fixture
def database(local: Settings, monkeypatch: pytest.MonkeyPatch) -> Database:
    monkeypatch.setattr("talweg.worker.tracking.backends.database._BUSY_MS", 100)
    assert local.tracking_database is not None
    return Database(local.tracking_database)


@contextmanager
def frozen(server: Mlflow) -> Iterator[None]:
    assert server.process is not None
    parent = psutil.Process(server.process.pid)
    processes = [parent, *parent.children(recursive=True)]
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            process.resume()


def ended_job(jobs: Jobs, local: Settings, **fields: Any) -> str:
    """Leave a job in the spool that has ended; its name."""
    assignment = jobs.begin(spec := tiny_spec(**fields))
    with writer_of(assignment, local.spool_dir) as writer:
        writer.points(losses(range(1, 11)))
        if spec.outputs.model:
            keep_network(writer, spec)
        jobs.finish(assignment, SUCCEEDED)
        writer.end(state="SUCCEEDED")
    return assignment.lease.job


def test_results_arrive_while_the_server_stands_still(
    jobs: Jobs, local: Settings, mlflow_server: Mlflow, tracking: mlflow.MlflowClient
) -> None:
    spec = tiny_spec(experiment="beside")
    name = ended_job(jobs, local, experiment="beside")
    with frozen(mlflow_server):
        Delivery(local).deliver()
        assert spool_files(local) == []
    assert jobs.get(name).tracking.complete
    (run,) = runs_of(tracking, spec, name)
    assert run.info.status == "FINISHED"
    assert steps_of(tracking, run, "train/loss") == list(range(1, 11))
    assert run.data.params["loss.huber.delta"] == "2"
    assert run.data.tags["talweg.state"] == "SUCCEEDED"
    assert run.inputs is not None
    (data,) = run.inputs.dataset_inputs
    assert data.dataset.name == "diabetes"
    assert [item.path for item in tracking.list_artifacts(run.info.run_id)] == ["job.yaml"]


def test_a_model_arrives_whole(jobs: Jobs, local: Settings, tracking: mlflow.MlflowClient) -> None:
    outputs = {"model": True, "plots": False}
    name = ended_job(jobs, local, outputs=outputs)
    Delivery(local).deliver()
    assert spool_files(local) == []
    (run,) = runs_of(tracking, tiny_spec(outputs=outputs), name)
    assert len(tracking.list_artifacts(run.info.run_id, "weights")) == 2
    assert run.outputs is not None
    (logged,) = run.outputs.model_outputs
    assert tracking.get_logged_model(logged.model_id).status == "READY"


def test_an_artifact_folder_elsewhere_goes_through_the_server(
    jobs: Jobs, local: Settings, tracking: mlflow.MlflowClient, tmp_path: Path
) -> None:
    tracking.create_experiment("elsewhere", artifact_location=(tmp_path / "files").as_uri())
    name = ended_job(jobs, local, experiment="elsewhere")
    Delivery(local).deliver()
    (run,) = runs_of(tracking, tiny_spec(experiment="elsewhere"), name)
    assert (tmp_path / "files" / run.info.run_id / "artifacts/job.yaml").exists()


def test_a_locked_database_is_waited_for(
    jobs: Jobs,
    local: Settings,
    tracking: mlflow.MlflowClient,
    mlflow_server: Mlflow,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("talweg.worker.tracking.backends.database._BUSY_MS", 100)
    names = [ended_job(jobs, local, experiment="locked beside") for _ in range(3)]
    delivery = Delivery(local)
    with closing(sqlite3.connect(mlflow_server.folder / "mlflow.db", timeout=30)) as other:
        other.isolation_level = None
        other.execute("BEGIN EXCLUSIVE")
        delivery.deliver()
        assert len(spool_files(local)) == 3
        other.execute("ROLLBACK")
    delivery.deliver()
    assert spool_files(local) == []
    for name in names:
        assert jobs.get(name).tracking.complete
        (run,) = runs_of(tracking, tiny_spec(experiment="locked beside"), name)
        assert steps_of(tracking, run, "train/loss") == list(range(1, 11))


@pytest.mark.faults
def test_killed_in_the_middle_of_many_it_loses_and_doubles_nothing(
    jobs: Jobs, local: Settings, tracking: mlflow.MlflowClient, tmp_path: Path
) -> None:
    names = [ended_job(jobs, local, experiment="many beside") for _ in range(24)]

    def wait_for(num_left: int) -> None:
        wait_until(
            lambda: len(spool_files(local)) <= num_left, timeout=120, what=f"{num_left} are left"
        )

    with delivering(local, tmp_path / "log") as process:
        wait_for(20)
        process.kill()
        process.wait()
    with delivering(local, tmp_path / "log"):
        wait_for(0)
    experiment = tracking.get_experiment_by_name("many beside")
    assert experiment is not None
    runs = tracking.search_runs([experiment.experiment_id], run_view_type=ViewType.ACTIVE_ONLY)
    assert Counter(run.data.tags["talweg.job"] for run in runs) == Counter(map(job_id, names))
    for run in runs:
        assert run.info.status == "FINISHED"
        assert steps_of(tracking, run, "train/loss") == list(range(1, 11))


def ask_together(
    database: Database, asks: list[Callable[[mlflow.MlflowClient], Any]]
) -> list[Any]:
    """Ask all at the same time; the answers, or what was raised instead."""
    answers: list[Any] = [None] * len(asks)

    def ask(index: int) -> None:
        try:
            answers[index] = database.ask(asks[index])
        except TrackingError as exc:
            answers[index] = exc

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(len(asks))]
    with database._lock:
        for thread in threads:
            thread.start()
        wait_until(lambda: len(database._waiting) == len(asks), timeout=20, what="all wait")
    for thread in threads:
        thread.join()
    return answers


def test_calls_of_several_threads_share_a_commit_and_no_failure(
    database: Database, tracking: mlflow.MlflowClient
) -> None:
    home = database.ask(lambda client: client.create_experiment("shared commit"))
    assert database._store is not None
    num_commits = 0

    @event.listens_for(database._store.engine, "commit")
    def count(connection: Any) -> None:
        nonlocal num_commits
        num_commits += 1

    def create(name: str) -> Callable[[mlflow.MlflowClient], str]:
        return lambda client: client.create_run(home, run_name=name).info.run_id

    answers = ask_together(
        database,
        [
            create("first"),
            lambda client: client.log_metric("0" * 32, "m", 1.0),
            lambda client: client.log_batch("not an id", [Metric("m", 1.0, 1, 1)]),
            create("second"),
        ],
    )
    assert num_commits == 1
    assert isinstance(answers[1], RunGoneError)
    assert isinstance(answers[2], (RefusedError, RunGoneError))
    made = tracking.search_runs([home])
    assert {run.info.run_id for run in made} == {answers[0], answers[3]}


def test_a_call_that_is_refused_in_its_middle_leaves_nothing(
    database: Database, tracking: mlflow.MlflowClient
) -> None:
    home = database.ask(lambda client: client.create_experiment("half"))

    def ask(client: mlflow.MlflowClient) -> None:
        run = client.create_run(home)
        client.log_param(run.info.run_id, "p", "1")
        client.log_param(run.info.run_id, "p", "2")

    with pytest.raises(RefusedError):
        database.ask(ask)
    assert tracking.search_runs([home]) == []


def test_nothing_is_acknowledged_that_a_full_disk_undoes(
    database: Database, tracking: mlflow.MlflowClient
) -> None:
    home = database.ask(lambda client: client.create_experiment("full disk"))
    assert database._store is not None

    def most_pages(num: int) -> None:
        driver: Any = database._store.engine.raw_connection()  # type: ignore[union-attr]
        with closing(driver):
            driver.execute(f"PRAGMA max_page_count = {num}")

    def fill(client: mlflow.MlflowClient) -> str:
        run_id: str = client.create_run(home).info.run_id
        for index in range(40):
            client.set_tag(run_id, f"t{index}", "x" * 5000)
        return run_id

    # SQLite takes the smallest number that the file already has.
    most_pages(1)
    answers = ask_together(database, [lambda client: client.create_run(home), fill, fill])
    made = {run.info.run_id for run in tracking.search_runs([home])}
    acknowledged = {
        getattr(getattr(answer, "info", None), "run_id", answer)
        for answer in answers
        if not isinstance(answer, TrackingError)
    }
    assert acknowledged == made
    assert len(made) < 3
    most_pages(1_000_000)
    assert database.ask(fill) in {run.info.run_id for run in tracking.search_runs([home])}


def test_a_database_that_is_not_there_yet_or_replaced_is_opened_anew(
    local: Settings, tmp_path: Path
) -> None:
    assert local.tracking_database is not None
    path = tmp_path / "mlflow.db"
    database = Database(path)
    with pytest.raises(NothingDoneError, match=r"mlflow\.db"):
        database.ask(lambda client: client.create_experiment("first"))
    assert not path.exists()
    with closing(sqlite3.connect(path)) as older:
        older.execute("CREATE TABLE alembic_version (version_num VARCHAR(32))")
        older.execute("INSERT INTO alembic_version VALUES ('0')")
        older.commit()
        with pytest.raises(NothingDoneError, match="out-of-date"):
            database.ask(lambda client: client.create_experiment("first"))
        assert older.execute("SELECT name FROM sqlite_master").fetchall() == [("alembic_version",)]
    aside = tmp_path / "aside.db"
    with (
        closing(sqlite3.connect(local.tracking_database)) as source,
        closing(sqlite3.connect(aside)) as copy,
    ):
        source.backup(copy)
        # A log beside the first file would be taken for the second's.
        copy.execute("PRAGMA journal_mode = DELETE")
    shutil.copy(aside, tmp_path / "second.db")
    os.replace(aside, path)
    first = database.ask(lambda client: client.create_experiment("in the first file"))
    os.replace(tmp_path / "second.db", path)
    assert database.ask(lambda client: client.get_experiment_by_name("in the first file")) is None
    second = database.ask(lambda client: client.create_experiment("in the second file"))
    assert first == second
