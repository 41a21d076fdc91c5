"""What the diagnoses of a job leave in MLflow: tables, tags, pictures."""

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.tracking.attempts import SpooledAttempt
from talweg.worker.tracking.outputs.tables import FOLDER, as_csv
from talweg.worker.tracking.plots.diagnosis import Diagnosis
from talweg.worker.tracking.plots.gradient_flow import draw_gradient_flow
from talweg.worker.tracking.plots.loss_landscape import draw_loss_landscape
from talweg.worker.tracking.plots.rate_range import draw_rate_range
from talweg.worker.tracking.spool import GRADIENT_FLOW, LOSS_LANDSCAPE, RATE_RANGE, table_file

if TYPE_CHECKING:
    # MLflow, which a training process does without.
    from talweg.worker.tracking.runs import RunId, Runs

PICTURES: dict[str, Callable[[Diagnosis], None]] = {
    RATE_RANGE: draw_rate_range,
    GRADIENT_FLOW: draw_gradient_flow,
    LOSS_LANDSCAPE: draw_loss_landscape,
}
"""What draws a table's pictures."""
# A fact that stands as a tag too, by diagnosis.
_TAGS = {RATE_RANGE: ("suggested", "talweg.suggested_rate")}


def send_diagnosis(
    name: str, attempt: SpooledAttempt, spec: JobSpec, *, run: "RunId", runs: "Runs"
) -> None:
    """Send a table as CSV, its tag, and its pictures where plots are asked for.

    Args:
        name: The diagnosis's.
        attempt: The one that made it.
        spec: Filled.
        run: The job's.
        runs: MLflow.
    """
    content = json.loads((attempt.folder / table_file(name)).read_text())
    columns, facts = content["columns"], content["facts"]
    fact, tag = _TAGS.get(name, ("", ""))
    if fact in facts:
        runs.log(run.run_id, tags={tag: f"{facts[fact]:.6g}"})
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / FOLDER
        target.mkdir()
        (target / f"{name}.csv").write_text(as_csv(columns))
        if spec.outputs.plots:
            draw_diagnosis(name, content, spec, target)
        runs.log_files(run.run_id, Path(folder))


def draw_diagnosis(name: str, content: Mapping[str, Any], spec: JobSpec, folder: Path) -> None:
    """Draw a table's pictures, if it has any.

    Args:
        name: The diagnosis's.
        content: Its columns and facts.
        spec: Filled.
        folder: Where the pictures go.
    """
    if name in PICTURES:
        PICTURES[name](Diagnosis(name, content["columns"], content["facts"], spec, folder))
