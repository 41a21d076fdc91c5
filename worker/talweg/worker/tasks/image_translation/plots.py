"""Pictures of images beside their targets, and the weights of layers by which a loss compares."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from talweg.worker.tasks.common.plots.canvas import PlotData
from talweg.worker.tasks.common.plots.images import draw_image, draw_rows
from talweg.worker.tasks.common.plots.learned_weights import draw_weights
from talweg.worker.tasks.common.plots.task_plots import TaskPlots

IMAGES = "images.png"
LAYER_WEIGHTS = "layer_weights.png"


def translations(data: PlotData) -> None:
    """Draw images of the test data beside what should come of them, what did, and the error.

    And the weights of layers, where the loss learns them.
    """
    draw_weights(data, LAYER_WEIGHTS, of="layers", weighed="a layer's squared error")
    shown = data.arrays
    columns = ["input", "target", "output", "error"]

    def draw_row(axes: Sequence[Axes], row: int) -> None:
        target, predicted = shown["target"][row], shown["answer"][row]
        for column, values in ((1, target), (2, predicted)):
            draw_image(axes[column], values, limits=(0, 1))
        axes[3].imshow(np.abs(predicted - target).mean(axis=0), cmap="Reds", vmin=0, vmax=1)

    draw_rows(data, columns, draw_row, title="Images", file=IMAGES)


PLOTS = TaskPlots(translations)
