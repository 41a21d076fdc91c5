"""The pictures of a run: its loss, and those of its task."""

from pathlib import Path

from safetensors.numpy import load_file

from talweg.spec import kind
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.tasks.common.plots.canvas import PlotData
from talweg.worker.tasks.registry import plots_of
from talweg.worker.tracking.attempts import SpooledAttempt
from talweg.worker.tracking.spool import PREDICTIONS


def draw_all(attempt: SpooledAttempt, spec: JobSpec, folder: Path) -> None:
    """Draw every picture for which the attempt holds the data.

    Args:
        attempt: The last one of its job.
        spec: Filled.
        folder: Where the pictures go.
    """
    plots, names = plots_of(kind(spec.task)[0]), attempt.data or {}
    has_arrays = attempt.data is not None and PREDICTIONS in attempt.files
    data = PlotData(
        arrays=load_file(attempt.folder / PREDICTIONS) if has_arrays else {},
        class_names=names.get("class_names", []),
        target_names=names.get("target_names", []),
        spec=spec,
        points=attempt.points,
        folder=folder,
    )
    plots.draw_losses(data)
    if data.arrays and all(map(len, data.arrays.values())):
        plots.draw(data)
