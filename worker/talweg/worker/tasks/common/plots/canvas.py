"""What all pictures share: size, colours, titles. 800 pixels wide."""

import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from talweg.spec import label, seed_of
from talweg.spec.stored import dataset_label
from talweg.v1.spec_pb2 import JobSpec

Point = tuple[int, int, Mapping[str, float]]
"""Step, time in milliseconds, and metrics by name."""

TRAIN, VALIDATION, TEST = "#7f8fa6", "#c0392b", "#1f6f8b"
SERIES = ("#1f6f8b", "#c0392b", "#2f7d4f", "#8e5ea2", "#b8860b")
"""Colours of things of one kind."""
_DPI = 100
_LONGEST_NAME, _LONGEST_TITLE = 14, 70


@dataclass(frozen=True)
class PlotData:
    """What a task's pictures are drawn from."""

    arrays: Mapping[str, NDArray[Any]]
    """What the task kept of the test data, by name; see `talweg.worker.tasks.EvalResult`."""
    class_names: Sequence[str]
    """Names of the classes or labels; may be empty."""
    target_names: Sequence[str]
    """Names of the numbers; may be empty."""
    spec: JobSpec
    """The job, filled."""
    points: Callable[[], Iterable[Point]]
    """Reads the job's metrics from the first step on."""
    folder: Path
    """Where the pictures go."""

    @property
    def title(self) -> str:
        """What was trained."""
        return title(self.spec)


def title(spec: JobSpec) -> str:
    """Say in one line what was trained."""
    text = f"{label(spec.loss)} on {dataset_label(spec.dataset)}, seed {seed_of(spec)}"
    return textwrap.shorten(text, _LONGEST_TITLE, placeholder="…")


def figure_of(height: float) -> tuple[Figure, Axes]:
    """Return a figure of a height in inches with one pair of axes."""
    figure = bare_figure(height)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    return figure, axes


def bare_figure(height: float) -> Figure:
    """Return a figure of a height in inches without axes."""
    figure = Figure(figsize=(8, height), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a figure."""
    # Figure.savefig would draw it twice, once to learn how large it is.
    FigureCanvasAgg(figure).print_png(path)  # type: ignore[no-untyped-call]


def short(name: str) -> str:
    """Cut a name that is too long for a picture."""
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"
