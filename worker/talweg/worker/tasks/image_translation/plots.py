"""Pictures of images beside their targets, and the weights of layers by which a loss compares."""

import numpy as np

from talweg.worker.tasks.common.plots.canvas import PlotData, bare_figure, save
from talweg.worker.tasks.common.plots.images import INCHES_A_ROW, draw_image, label_grid
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
    count = len(shown["image"])
    figure = bare_figure(INCHES_A_ROW * count + 0.6)
    grid = np.atleast_2d(figure.subplots(count, len(columns)))
    for row, axes in enumerate(grid):
        target, predicted = shown["target"][row], shown["answer"][row]
        draw_image(axes[0], shown["image"][row])
        for place, values in ((1, target), (2, predicted)):
            draw_image(axes[place], values, limits=(0, 1))
        axes[3].imshow(np.abs(predicted - target).mean(axis=0), cmap="Reds", vmin=0, vmax=1)
    label_grid(grid, columns)
    figure.suptitle(f"Images: {data.title}\nfrom the test data")
    save(figure, data.folder / IMAGES)


PLOTS = TaskPlots(translations)
