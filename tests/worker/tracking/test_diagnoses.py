"""Gradient flow and loss landscape, as a person finds them in MLflow."""

import csv
import math
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from matplotlib.image import imread
from tests.worker._jobs import Jobs, tiny_spec
from tests.worker.tracking.spools import losses, runs_of, writer_of

from talweg.v1.jobs_pb2 import Job, Outcome
from talweg.worker import diagnostics
from talweg.worker.execution.reporter import JobReporter
from talweg.worker.settings import Settings
from talweg.worker.tracking.delivery import Delivery
from talweg.worker.tracking.outputs.diagnoses import PICTURES
from talweg.worker.tracking.plots.diagnosis import Diagnosis
from talweg.worker.tracking.plots.loss_landscape import scale_of
from talweg.worker.training import NeverStop, RecordingReporter
from talweg.worker.training.interface import Table

GRID = np.linspace(-1, 1, 5)


def landscape(loss_at: Any) -> dict[str, list[Any]]:
    places = [(one, two) for one in GRID.tolist() for two in GRID.tolist()]
    ones, twos = ([place[axis] for place in places] for axis in (0, 1))
    return {"one": ones, "two": twos, "loss": [loss_at(one, two) for one, two in places]}


def flow(num_layers: int, num_steps: int) -> dict[str, list[Any]]:
    names = [f"trunk.block{number}.linear" for number in range(num_layers)]
    steps = range(1, 5 * num_steps, 5)
    norms = [10.0**-number for _ in steps for number in range(num_layers)]
    ratios: list[Any] = [0.01 * norm for norm in norms]
    norms[0], ratios[1] = 0.0, ""
    return {
        "step": [step for step in steps for _ in names],
        "layer": names * num_steps,
        "gradient_norm": norms,
        "update_ratio": ratios,
    }


def draw(name: str, columns: Any, folder: Path, facts: Any = None) -> dict[str, Any]:
    """Draw a diagnosis's pictures, and give their pixels by name."""
    folder.mkdir(exist_ok=True)
    PICTURES[name](Diagnosis(name, columns, facts or {}, tiny_spec(), folder))
    return {path.name: imread(path) for path in folder.iterdir()}


def test_a_jobs_tables_and_pictures(
    jobs: Jobs,
    settings: Settings,
    delivery: Delivery,
    tracking: mlflow.MlflowClient,
    tmp_path: Path,
) -> None:
    asked = {"gradient_flow": {"points": 4}, "loss_landscape": {"points": 5, "samples": 50}}
    spec = tiny_spec(
        outputs={"model": False, "plots": True}, experiment="diagnoses", diagnostics=asked
    )
    assignment = jobs.begin(spec)
    with writer_of(assignment, settings.spool_dir) as writer:
        reporter = JobReporter(spec, writer)
        told = RecordingReporter()
        diagnostics.run(spec, report=told, control=NeverStop(), device="cpu")
        for name, table in told.tables.items():
            reporter.table(name, table)
        # As the next attempt does, which ends another time.
        reporter.table("gradient_flow", told.tables["gradient_flow"])
        writer.points(losses(range(1, 3)))
        jobs.finish(assignment, Outcome(state=Job.SUCCEEDED))
        writer.end(state="SUCCEEDED")
    delivery.deliver()
    (run,) = runs_of(tracking, spec, assignment.lease.job)
    path = Path(tracking.download_artifacts(run.info.run_id, "diagnostics", str(tmp_path)))
    assert {file.name for file in path.iterdir()} == {
        "gradient_flow.csv",
        "gradient_flow.png",
        "loss_landscape.csv",
        "loss_landscape.png",
        "loss_landscape_surface.png",
    }
    for name, table in told.tables.items():
        with (path / f"{name}.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert list(rows[0]) == list(table.columns)
        assert len(rows) == len(next(iter(table.columns.values())))
        for column, values in table.columns.items():
            assert [row[column] for row in rows] == [str(value) for value in values]
    assert len(set(told.tables["gradient_flow"].columns["layer"])) > 1


def test_tables_alone_where_no_plots_are_asked_for(
    jobs: Jobs,
    settings: Settings,
    delivery: Delivery,
    tracking: mlflow.MlflowClient,
    tmp_path: Path,
) -> None:
    spec = tiny_spec(outputs={"model": False, "plots": False}, experiment="tables")
    assignment = jobs.begin(spec)
    columns = landscape(lambda one, two: "inf" if one > 0.9 else one**2 + two**2)
    with writer_of(assignment, settings.spool_dir) as writer:
        JobReporter(spec, writer).table("loss_landscape", Table(columns, {"middle": 0.0}))
        writer.points(losses(range(1, 3)))
        jobs.finish(assignment, Outcome(state=Job.SUCCEEDED))
        writer.end(state="SUCCEEDED")
    delivery.deliver()
    (run,) = runs_of(tracking, spec, assignment.lease.job)
    path = Path(tracking.download_artifacts(run.info.run_id, "diagnostics", str(tmp_path)))
    (file,) = path.iterdir()
    rows = list(csv.DictReader(file.read_text().splitlines()))
    assert [float(row["loss"]) for row in rows].count(math.inf) == 5


@pytest.mark.parametrize(("num_layers", "height"), [(3, 700), (60, 1200)])
def test_few_layers_are_lines_and_many_a_map(num_layers: int, height: int, tmp_path: Path) -> None:
    (pixels,) = draw("gradient_flow", flow(num_layers, 30), tmp_path).values()
    assert pixels.shape[:2] == (height, 800)
    # A single step can be drawn too.
    assert draw("gradient_flow", flow(num_layers, 1), tmp_path / "one")


def test_a_landscape_of_any_kind_is_drawn(tmp_path: Path) -> None:
    kinds = {
        "bowl": lambda one, two: one**2 + two**2 - 5,
        "steep": lambda one, two: 10 ** (9 * abs(one + two)),
        "flat": lambda one, two: 1.0,
        "torn": lambda one, two: "nan" if one > 0 else one**2 + two,
        "without a middle": lambda one, two: "inf" if one == two == 0 else one + two,
    }
    for name, loss_at in kinds.items():
        columns = landscape(loss_at)
        facts = {"middle": columns["loss"][12], "samples": 10.0}
        found = draw("loss_landscape", columns, tmp_path / name, facts)
        assert set(found) == {"loss_landscape.png", "loss_landscape_surface.png"}
    nowhere = landscape(lambda one, two: "inf")
    assert draw("loss_landscape", nowhere, tmp_path / "nowhere", {"middle": "inf"}) == {}


@pytest.mark.parametrize(
    ("losses", "name"),
    [
        ([1.0, 2.0, 3.0], ""),
        ([0.01, 0.1, 10.0], ", log scale"),
        ([-1.0, -0.9, -0.8, 500.0], ", log scale above the minimum"),
        ([2.0, 2.0], ""),
    ],
)
def test_heights_lead_back_to_losses(losses: list[float], name: str) -> None:
    scale = scale_of(np.array(losses))
    assert scale.name == name
    heights = scale.up(np.array(losses))
    assert (np.diff(heights) >= 0).all()
    assert scale.down(heights) == pytest.approx(losses)
