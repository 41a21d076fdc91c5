"""Pictures of jobs with several heads: each head's own, and the heads' weights over time."""

from dataclasses import replace

import numpy as np

from talweg.spec import heads as heads_of
from talweg.worker.tracking import plots_boxes, plots_images
from talweg.worker.tracking.canvas import Finding, bare_figure, save
from talweg.worker.tracking.plots_images import draw_image, label_grid
from talweg.worker.tracking.plots_weights import draw_weights

WEIGHTS = "task_weights.png"
DEPTH = "map.png"

_INCHES_A_ROW = 2.1


def heads(finding: Finding) -> None:
    """Draw what each head has to show, in files that begin with its name, and the weights."""
    draw_weights(finding, WEIGHTS, of="heads", weighed="a head's loss")
    for head in heads_of(finding.spec):
        own = {
            name.removeprefix(f"{head.name}/"): array
            for name, array in finding.shown.items()
            if name.startswith(f"{head.name}/")
        }
        folder = finding.folder / head.name
        if head.kind == "segmentation":
            folder.mkdir()
            plots_images.masks(replace(finding, shown=own, folder=folder))
        elif head.kind == "detection":
            folder.mkdir()
            plots_boxes.boxes(replace(finding, shown=own, folder=folder))
        elif head.kind == "depth":
            folder.mkdir()
            _draw_depth(replace(finding, shown=own, folder=folder))
        if folder.exists():
            for picture in folder.iterdir():
                picture.rename(finding.folder / f"{head.name}_{picture.name}")
            folder.rmdir()


def _draw_depth(finding: Finding) -> None:
    shown = finding.shown
    low, high = float(shown["depth"].min()), float(shown["depth"].max())
    count = len(shown["image"])
    columns = ["image", "truth", "answer", "error"]
    figure = bare_figure(_INCHES_A_ROW * count + 0.6)
    grid = np.atleast_2d(figure.subplots(count, len(columns)))
    for row, axes in enumerate(grid):
        depth, answer = shown["depth"][row], shown["answer"][row]
        draw_image(axes[0], shown["image"][row])
        for place, values in ((1, depth), (2, answer)):
            axes[place].imshow(values, cmap="viridis_r", vmin=low, vmax=high)
        axes[3].imshow(np.abs(answer - depth), cmap="Reds", vmin=0, vmax=max(high - low, 1e-12))
    label_grid(grid, columns)
    figure.suptitle(f"Depth: {finding.title}\nfrom the test data")
    save(figure, finding.folder / DEPTH)
