"""Images of the test data in rows, beside what is true and what is predicted."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from numpy.typing import NDArray

from talweg.worker.tasks.common.plots.canvas import PlotData, bare_figure, save

INCHES_A_ROW = 2.1
# The background is dark, and classes are told apart by hue.
_BACKGROUND = (0.1, 0.1, 0.1, 1.0)


def colours_of(num_classes: int) -> ListedColormap:
    """Return a colour a class, the background's first."""
    hues = colormaps["hsv"](np.linspace(0, 1, num_classes))[: num_classes - 1]
    return ListedColormap([_BACKGROUND, *hues])


def draw_image(axes: Axes, image: NDArray[Any], limits: tuple[float, float] | None = None) -> None:
    """Draw an image (channels, height, width) from its darkest to its brightest.

    Args:
        axes: Where.
        image: 1 or 3 channels; of others the first.
        limits: What is black and what is white, where that is not the darkest and the brightest.
    """
    low, high = limits or (float(image.min()), float(image.max()))
    scaled = np.clip((image - low) / max(high - low, 1e-12), 0, 1)
    if len(scaled) == 3:
        axes.imshow(np.moveaxis(scaled, 0, -1))
    else:
        axes.imshow(scaled[0], cmap="gray", vmin=0, vmax=1)


def draw_rows(
    data: PlotData,
    columns: Sequence[str],
    draw_row: Callable[[Sequence[Axes], int], None],
    *,
    title: str,
    file: str,
) -> None:
    """Draw a row a sample: its image, and what else a task has to show of it.

    Args:
        data: Its arrays hold the images under "image".
        columns: What each shows, the image's first.
        draw_row: Takes a row's axes and the sample's place, and draws all but the image.
        title: What the pictures are of.
        file: The picture's name.
    """
    images = data.arrays["image"]
    figure = bare_figure(INCHES_A_ROW * len(images) + 0.6)
    grid = np.atleast_2d(figure.subplots(len(images), len(columns)))
    for row, axes in enumerate(grid):
        draw_image(axes[0], images[row])
        draw_row(axes, row)
    label_grid(grid, columns)
    figure.suptitle(f"{title}: {data.title}\nfrom the test data")
    save(figure, data.folder / file)


def label_grid(grid: NDArray[Any], columns: Sequence[str]) -> None:
    """Write over each column what it shows, and take the ticks off."""
    for axes in grid.flat:
        axes.set_xticks([])
        axes.set_yticks([])
    for axes, text in zip(grid[0], columns, strict=True):
        axes.set_title(text, fontsize=11)
