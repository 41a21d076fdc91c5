"""A learning-rate range test, as a person finds it in MLflow."""

import csv
from pathlib import Path

import mlflow
from matplotlib.image import imread
from tests.worker._jobs import Jobs, tiny_spec
from tests.worker.tracking.spools import losses, runs_of, writer_of

from talweg.v1.jobs_pb2 import Job, Outcome
from talweg.worker.execution.reporter import JobReporter
from talweg.worker.settings import Settings
from talweg.worker.tracking.delivery import Delivery
from talweg.worker.training.interface import Table

COLUMNS = {"rate": [1e-4, 1e-3, 1e-2], "loss": [3.0, 2.0, 5.5], "smoothed": [3.0, 3.5, 5.5]}


def test_table_tag_and_picture(
    jobs: Jobs,
    settings: Settings,
    delivery: Delivery,
    tracking: mlflow.MlflowClient,
    tmp_path: Path,
) -> None:
    spec = tiny_spec(outputs={"model": False, "plots": True}, experiment="rates")
    assignment = jobs.begin(spec)
    with writer_of(assignment, settings.spool_dir) as writer:
        reporter = JobReporter(spec, writer)
        reporter.table("rate_range", Table(COLUMNS, {"rate": 0.01, "suggested": 0.0123}))
        writer.points(losses(range(1, 3)))
        writer.flush()
        # It is there while the job runs.
        delivery.deliver()
        (run,) = runs_of(tracking, spec, assignment.lease.job)
        assert run.data.tags["talweg.suggested_rate"] == "0.0123"
        jobs.finish(assignment, Outcome(state=Job.SUCCEEDED))
        writer.end(state="SUCCEEDED")
    delivery.deliver()
    path = tracking.download_artifacts(run.info.run_id, "diagnostics", str(tmp_path))
    assert {file.name for file in Path(path).iterdir()} == {"rate_range.csv", "rate_range.png"}
    with (Path(path) / "rate_range.csv").open() as file:
        rows = list(csv.DictReader(file))
    for name, column in COLUMNS.items():
        assert [float(row[name]) for row in rows] == column
    assert imread(Path(path) / "rate_range.png").shape[:2] == (500, 800)
