"""What a job that diverged leaves in MLflow: the guard's evidence, for programs and for people."""

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from talweg.spec import divergence_lines, from_dict
from talweg.v1.jobs_pb2 import Divergence
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.tracking.attempts import SpooledAttempt
from talweg.worker.tracking.spool import DIVERGENCE

if TYPE_CHECKING:
    # MLflow, which a training process does without.
    from talweg.worker.tracking.runs import RunId, Runs

FOLDER = "divergence"
TEXT = "divergence.txt"
PICTURE = "divergence.png"


def send_evidence(attempt: SpooledAttempt, spec: JobSpec, run: "RunId", runs: "Runs") -> None:
    """Send JSON and text, and a picture where the spec asks for plots.

    Args:
        attempt: The last one; it holds the evidence.
        spec: Filled.
        run: The job's.
        runs: MLflow.
    """
    path = attempt.folder / DIVERGENCE
    divergence = from_dict(json.loads(path.read_text()), Divergence)
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / FOLDER
        target.mkdir()
        (target / DIVERGENCE).write_bytes(path.read_bytes())
        (target / TEXT).write_text(in_text(divergence))
        if spec.outputs.plots:
            draw_evidence(divergence, spec, target)
        runs.log_files(run.run_id, Path(folder))


def draw_evidence(divergence: Divergence, spec: JobSpec, folder: Path) -> None:
    """Draw the losses before the refused step, if there are any.

    Args:
        divergence: The evidence.
        spec: Filled.
        folder: Where the picture goes.
    """
    if divergence.losses:
        from talweg.worker.tracking.plots.divergence import (  # noqa: PLC0415 - matplotlib
            draw_divergence,
        )

        draw_divergence(divergence, spec, folder / PICTURE)


def in_text(divergence: Divergence) -> str:
    """Return the evidence as a page of text."""
    lines = [*divergence_lines(divergence), ""]
    if divergence.losses:
        lines.append(f"{'steps before':>12}  {'loss':>12}  {'gradient norm':>13}")
    # Both histories end with the step before the refused one.
    count = len(divergence.losses)
    for index, (loss, norm) in enumerate(
        zip(divergence.losses, divergence.gradient_norms, strict=True)
    ):
        lines.append(f"{count - index:>12}  {loss:>12.6g}  {norm:>13.6g}")
    return "\n".join(lines).rstrip() + "\n"
