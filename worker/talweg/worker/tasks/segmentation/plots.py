"""Pictures of masks beside the true ones, and each class's IoU."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from talweg.worker.tasks.common.plots.canvas import (
    TEST,
    VALIDATION,
    PlotData,
    figure_of,
    save,
)
from talweg.worker.tasks.common.plots.images import (
    colours_of,
    draw_rows,
)
from talweg.worker.tasks.common.plots.task_plots import TaskPlots

MASKS = "masks.png"
IOU = "iou_by_class.png"


def masks(data: PlotData) -> None:
    """Draw images of the test data beside their masks and the model's, and the classes' IoU."""
    shown = data.arrays
    pairs = shown["confusion"]
    names = list(data.class_names)
    if len(names) != len(pairs):
        names = ["background", "foreground"]
    colours = colours_of(len(names))
    columns = ["image", "truth", "prediction", "wrong"]

    def draw_row(axes: Sequence[Axes], row: int) -> None:
        mask, predicted = shown["mask"][row], shown["answer"][row]
        for column, values in ((1, mask), (2, predicted)):
            axes[column].imshow(values, cmap=colours, vmin=0, vmax=len(names) - 1)
        axes[3].imshow(mask != predicted, cmap="Reds", vmin=0, vmax=1)

    draw_rows(data, columns, draw_row, title="Masks", file=MASKS)
    _draw_iou(data, pairs, names)


def _draw_iou(data: PlotData, pairs: NDArray[Any], names: Sequence[str]) -> None:
    hits = np.diagonal(pairs).astype(float)
    union = pairs.sum(axis=0) + pairs.sum(axis=1) - hits
    iou = np.divide(hits, union, out=np.zeros_like(hits), where=union > 0)
    figure, axes = figure_of(5)
    axes.bar(range(len(iou)), iou, color=["0.7", *[TEST] * (len(iou) - 1)])
    mean = float(iou[1:][union[1:] > 0].mean()) if (union[1:] > 0).any() else 0.0
    axes.axhline(mean, color=VALIDATION, lw=1.2, ls="--", label=f"mean of the classes {mean:.3f}")
    axes.set_xticks(range(len(iou)), list(names), rotation=90 if len(iou) > 12 else 0)
    axes.set_ylim(0, 1)
    axes.set_ylabel("intersection over union")
    axes.set_title(f"IoU: {data.title}\nall pixels of the test data")
    axes.legend(frameon=False)
    save(figure, data.folder / IOU)


PLOTS = TaskPlots(masks)
