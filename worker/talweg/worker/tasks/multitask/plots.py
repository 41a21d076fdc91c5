"""Pictures of jobs with several heads: each head's own, and the heads' weights over time."""

from dataclasses import replace

import numpy as np

from talweg.spec import heads as heads_of
from talweg.worker.tasks.common.plots.canvas import PlotData, bare_figure, save
from talweg.worker.tasks.common.plots.images import INCHES_A_ROW, draw_image, label_grid
from talweg.worker.tasks.common.plots.learned_weights import draw_weights
from talweg.worker.tasks.common.plots.task_plots import TaskPlots
from talweg.worker.tasks.detection import plots as box_plots
from talweg.worker.tasks.segmentation import plots as mask_plots

WEIGHTS = "task_weights.png"
DEPTH = "map.png"


def heads(data: PlotData) -> None:
    """Draw what each head has to show, in files that begin with its name, and the weights."""
    draw_weights(data, WEIGHTS, of="heads", weighed="a head's loss")
    for head in heads_of(data.spec):
        own = {
            name.removeprefix(f"{head.name}/"): array
            for name, array in data.arrays.items()
            if name.startswith(f"{head.name}/")
        }
        folder = data.folder / head.name
        if head.kind == "segmentation":
            folder.mkdir()
            mask_plots.masks(replace(data, arrays=own, folder=folder))
        elif head.kind == "detection":
            folder.mkdir()
            box_plots.boxes(replace(data, arrays=own, folder=folder))
        elif head.kind == "depth":
            folder.mkdir()
            _draw_depth(replace(data, arrays=own, folder=folder))
        if folder.exists():
            for picture in folder.iterdir():
                picture.rename(data.folder / f"{head.name}_{picture.name}")
            folder.rmdir()


def _draw_depth(data: PlotData) -> None:
    shown = data.arrays
    low, high = float(shown["depth"].min()), float(shown["depth"].max())
    count = len(shown["image"])
    columns = ["image", "truth", "prediction", "error"]
    figure = bare_figure(INCHES_A_ROW * count + 0.6)
    grid = np.atleast_2d(figure.subplots(count, len(columns)))
    for row, axes in enumerate(grid):
        depth, predicted = shown["depth"][row], shown["answer"][row]
        draw_image(axes[0], shown["image"][row])
        for place, values in ((1, depth), (2, predicted)):
            axes[place].imshow(values, cmap="viridis_r", vmin=low, vmax=high)
        axes[3].imshow(np.abs(predicted - depth), cmap="Reds", vmin=0, vmax=max(high - low, 1e-12))
    label_grid(grid, columns)
    figure.suptitle(f"Depth: {data.title}\nfrom the test data")
    save(figure, data.folder / DEPTH)


PLOTS = TaskPlots(heads)
