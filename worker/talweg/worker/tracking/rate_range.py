"""What a learning-rate range test leaves in MLflow: a table, a tag, a picture."""

import csv
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.tracking.attempts import SpooledAttempt
from talweg.worker.tracking.runs import RunId, Runs
from talweg.worker.tracking.spool import RATE_RANGE, table_file

FOLDER = "diagnostics"
TAG = "talweg.suggested_rate"


def send_rate_range(attempt: SpooledAttempt, spec: JobSpec, run: RunId, runs: Runs) -> None:
    """Sends the table as CSV, the suggestion as a tag, and a picture where plots are asked for.

    Args:
        attempt: the one that made the test.
        spec: filled.
        run: the job's.
        runs: MLflow.
    """
    found = json.loads((attempt.folder / table_file(RATE_RANGE)).read_text())
    columns, facts = found["columns"], found["facts"]
    if "suggested" in facts:
        runs.log(run.run_id, tags={TAG: f"{facts['suggested']:.6g}"})
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / FOLDER
        target.mkdir()
        with (target / f"{RATE_RANGE}.csv").open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows(zip(*columns.values(), strict=True))
        if spec.outputs.plots:
            draw_rate_range(columns, facts, spec, target / f"{RATE_RANGE}.png")
        runs.log_files(run.run_id, Path(folder))


def draw_rate_range(
    columns: Mapping[str, Sequence[float]], facts: Mapping[str, Any], spec: JobSpec, path: Path
) -> None:
    """The loss over the rate, with the suggested rate and the job's own.

    Args:
        columns: rate, loss and smoothed loss.
        facts: the job's rate, and the suggested one where there is one.
        spec: filled.
        path: of the picture.
    """
    from talweg.worker.tracking.canvas import TEST, TRAIN, VALIDATION, figure_of, save, title

    figure, axes = figure_of(5)
    axes.plot(columns["rate"], columns["loss"], color=TRAIN, lw=0.8, label="training batch")
    axes.plot(columns["rate"], columns["smoothed"], color=TEST, lw=1.8, label="smoothed")
    if "suggested" in facts:
        text = f"suggested {facts['suggested']:.3g}"
        axes.axvline(facts["suggested"], color=VALIDATION, lw=1.5, label=text)
    axes.axvline(
        facts["rate"], color="0.3", lw=1.2, ls="--", label=f"the job's {facts['rate']:.3g}"
    )
    axes.set_xscale("log")
    axes.set_title(f"Learning-rate range test: {title(spec)}")
    axes.set_xlabel("learning rate")
    axes.set_ylabel("loss")
    axes.grid(color="0.9")
    axes.legend(frameon=False)
    save(figure, path)
