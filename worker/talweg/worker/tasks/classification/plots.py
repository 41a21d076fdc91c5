"""Pictures of predicted classes and labels beside the true ones."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from talweg.worker.tasks.common.plots.canvas import PlotData, figure_of, save, short
from talweg.worker.tasks.common.plots.task_plots import TaskPlots

CONFUSION = "confusion_matrix.png"

_MOST_NUMBERED_CLASSES = 16
_MOST_NAMED_CLASSES = 40


def classes(data: PlotData) -> None:
    """Draw the confusion matrix."""
    names = data.class_names
    y_true, y_pred = data.arrays["y_true"], data.arrays["y_pred"]
    path = data.folder / CONFUSION
    draw_confusion(y_true, y_pred, names=names, title=data.title, path=path)


def labels(data: PlotData) -> None:
    """Draw each label's outcomes."""
    names = data.class_names
    y_true, y_pred = data.arrays["y_true"], data.arrays["y_pred"]
    path = data.folder / CONFUSION
    draw_label_table(y_true, y_pred, names=names, title=data.title, path=path)


def draw_confusion(
    y_true: NDArray[Any], y_pred: NDArray[Any], *, names: Sequence[str], title: str, path: Path
) -> None:
    """Draw how often each class was predicted as which, coloured by the true class's share.

    Args:
        y_true: Class indices (N,).
        y_pred: Class indices (N,).
        names: Of the classes; may be empty.
        title: What was trained.
        path: Of the picture.
    """
    num_classes = max(len(names), int(max(y_true.max(), y_pred.max())) + 1)
    counts = np.zeros((num_classes, num_classes), dtype=int)
    np.add.at(counts, (y_true.astype(int), y_pred.astype(int)), 1)
    accuracy = float((y_true == y_pred).mean())
    figure, axes = figure_of(5 if num_classes <= 4 else 7)
    _heat_map(figure, axes, counts)
    labels = _class_labels(names, num_classes)
    _ticks(axes, labels, labels)
    axes.set_title(
        f"Confusion: {title}\ntest data, {len(y_true):,} samples, accuracy {accuracy:.3f}"
    )
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    save(figure, path)


def draw_label_table(
    y_true: NDArray[Any], y_pred: NDArray[Any], *, names: Sequence[str], title: str, path: Path
) -> None:
    """Draw each label's four outcomes, coloured by their share of those that (do not) carry it.

    Args:
        y_true: 0 and 1 (N, L).
        y_pred: 0 and 1 (N, L).
        names: Of the labels; may be empty.
        title: What was trained.
        path: Of the picture.
    """
    true, pred = y_true.astype(bool), y_pred.astype(bool)
    predicted, missed = (true & pred).sum(0), (true & ~pred).sum(0)
    wrong, spared = (~true & pred).sum(0), (~true & ~pred).sum(0)
    counts = np.stack([predicted, missed, wrong, spared], axis=1)
    groups = np.stack([predicted + missed] * 2 + [wrong + spared] * 2, axis=1)
    figure, axes = figure_of(min(12, 3 + 0.4 * len(counts)))
    _heat_map(figure, axes, counts, totals=groups)
    columns = ["carried,\npredicted", "carried,\nmissed", "not carried,\npredicted",
               "not carried,\nnot predicted"]  # fmt: skip
    _ticks(axes, _class_labels(names, len(counts)), columns)
    axes.set_title(f"Labels: {title}\ntest data, {len(true):,} samples")
    axes.set_xlabel("outcome")
    axes.set_ylabel("label")
    save(figure, path)


def _heat_map(
    figure: Figure, axes: Axes, counts: NDArray[Any], *, totals: NDArray[Any] | None = None
) -> None:
    rows = counts.sum(axis=1, keepdims=True) if totals is None else totals
    share = counts / np.maximum(rows, 1)
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    bar = figure.colorbar(image, ax=axes, fraction=0.045, pad=0.02)
    bar.set_label("fraction of the true class" if totals is None else "fraction of those samples")
    bar.outline.set_visible(False)
    axes.spines[:].set_visible(False)
    if max(counts.shape) > _MOST_NUMBERED_CLASSES:
        return
    for (row, column), count in np.ndenumerate(counts):
        if count:
            colour = "white" if share[row, column] > 0.6 else "0.15"
            size = 14 if max(counts.shape) <= 5 else 10
            axes.text(
                column, row, f"{count:,}", ha="center", va="center", color=colour, fontsize=size
            )


def _class_labels(names: Sequence[str], count: int) -> list[str]:
    return [short(names[i]) if i < len(names) else str(i) for i in range(count)]


def _ticks(axes: Axes, rows: Sequence[str], columns: Sequence[str]) -> None:
    for axis, labels in ((axes.yaxis, rows), (axes.xaxis, columns)):
        every = max(1, -(-len(labels) // _MOST_NAMED_CLASSES))
        axis.set_ticks(range(0, len(labels), every), list(labels[::every]))
    longest = max(len(line) for text in columns for line in text.split("\n"))
    if longest * len(columns) > 90:
        axes.tick_params(axis="x", rotation=90)
    axes.tick_params(length=0)


CLASSES, LABELS = TaskPlots(classes), TaskPlots(labels)
