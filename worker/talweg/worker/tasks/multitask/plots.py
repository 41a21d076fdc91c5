"""Pictures of jobs with several heads: each head's own, and the heads' weights over time."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes

from talweg.spec import heads as heads_of
from talweg.worker.tasks.common.plots.canvas import PlotData
from talweg.worker.tasks.common.plots.images import draw_rows
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
    columns = ["image", "truth", "prediction", "error"]

    def draw_row(axes: Sequence[Axes], row: int) -> None:
        depth, predicted = shown["depth"][row], shown["answer"][row]
        for column, values in ((1, depth), (2, predicted)):
            axes[column].imshow(values, cmap="viridis_r", vmin=low, vmax=high)
        axes[3].imshow(np.abs(predicted - depth), cmap="Reds", vmin=0, vmax=max(high - low, 1e-12))

    draw_rows(data, columns, draw_row, title="Depth", file=DEPTH)


PLOTS = TaskPlots(heads)
