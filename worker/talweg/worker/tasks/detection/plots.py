"""The picture of predicted boxes beside true ones."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from talweg.worker.tasks.common.plots.canvas import PlotData, bare_figure, save
from talweg.worker.tasks.common.plots.images import colours_of, draw_image, label_grid
from talweg.worker.tasks.common.plots.task_plots import TaskPlots

BOXES = "boxes.png"

# Boxes of a lower score would hide the others.
_SHOWN_FROM = 0.3
_IMAGES_A_ROW = 2
_INCHES_A_ROW = 2.2

Floats = NDArray[np.float32]


def boxes(data: PlotData) -> None:
    """Draw images of the test data with their boxes, beside the predicted ones."""
    shown = data.arrays
    names = list(data.class_names)
    colours = colours_of(len(names))
    rows = -(-len(shown["image"]) // _IMAGES_A_ROW)
    figure = bare_figure(_INCHES_A_ROW * rows + 0.8)
    grid = np.atleast_2d(figure.subplots(rows, 2 * _IMAGES_A_ROW))
    pairs = grid.reshape(-1, 2)
    for image, (truth, prediction) in enumerate(pairs):
        if image == len(shown["image"]):
            truth.set_axis_off()
            prediction.set_axis_off()
            continue
        count = int(shown["count"][image])
        predicted = shown["found"][image]
        predicted = predicted[predicted[:, 4] >= _SHOWN_FROM]
        draw_image(truth, shown["image"][image])
        draw_image(prediction, shown["image"][image])
        classes = shown["classes"][image][:count]
        _draw(truth, shown["boxes"][image][:count], classes, [names[c] for c in classes], colours)
        labels = predicted[:, 5].astype(int)
        texts = [f"{names[c]} {s:.2f}" for c, s in zip(labels, predicted[:, 4], strict=True)]
        _draw(prediction, predicted[:, :4], labels, texts, colours)
    label_grid(grid, ["truth", "prediction"] * _IMAGES_A_ROW)
    lowest = f"of a score of {_SHOWN_FROM} or more"
    figure.suptitle(f"Boxes: {data.title}\nfrom the test data; predicted boxes {lowest}")
    save(figure, data.folder / BOXES)


def _draw(
    axes: Axes,
    boxes: Floats,
    classes: NDArray[np.int64],
    texts: Sequence[str],
    colours: ListedColormap,
) -> None:
    for (x1, y1, x2, y2), label, text in zip(boxes.tolist(), classes, texts, strict=True):
        colour = colours(int(label))
        # Pixels are drawn around their indices, boxes count from the first one's edge.
        corner = (x1 - 0.5, y1 - 0.5)
        axes.add_patch(
            Rectangle(corner, x2 - x1, y2 - y1, fill=False, edgecolor=colour, linewidth=1.2)
        )
        axes.text(
            corner[0], corner[1] - 0.5, text, color=colour, fontsize=6, va="bottom", clip_on=True
        )


PLOTS = TaskPlots(boxes)
