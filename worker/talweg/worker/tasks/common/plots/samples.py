"""Pictures of made samples beside real ones."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from talweg.worker.tasks.common.plots.canvas import SERIES, PlotData, bare_figure, figure_of, save
from talweg.worker.tasks.common.plots.projection import principal

SAMPLES = "samples.png"

_SIDE = 8


def draw_samples(data: PlotData, originals: NDArray[Any]) -> None:
    """Draw made samples: images as they are, vectors in the plane beside real ones."""
    samples = data.arrays["samples"]
    if samples.ndim == 4:
        few = samples[: _SIDE * _SIDE]
        draw_images(data, few, _SIDE, f"Samples: {data.title}", SAMPLES)
        return
    flat = np.concatenate([originals, samples]).reshape(len(originals) + len(samples), -1)
    is_plane = flat.shape[1] == 2
    places = flat if is_plane else principal(flat)[0]
    figure, axes = figure_of(6)
    count = len(originals)
    for part, name, colour in (
        (slice(count), "test data", SERIES[0]),
        (slice(count, None), "made", SERIES[1]),
    ):
        axes.scatter(
            places[part, 0], places[part, 1], s=8, alpha=0.6, lw=0, color=colour, label=name
        )
    axes.set_title(f"Samples: {data.title}")
    axes.set_xlabel("first dimension" if is_plane else "first principal direction")
    axes.set_ylabel("second dimension" if is_plane else "second principal direction")
    axes.set_aspect("equal", adjustable="datalim")
    axes.grid(color="0.92")
    axes.legend(frameon=False)
    save(figure, data.folder / SAMPLES)


def draw_images(data: PlotData, images: NDArray[Any], across: int, title: str, file: str) -> None:
    """Lay images (n, channels, height, width) out in rows."""
    down = -(-len(images) // across)
    figure = bare_figure(max(4.0, min(9.0, 1.0 + 7.5 * down / across)))
    figure.suptitle(title, fontsize=12)
    grid = figure.subplots(down, across, squeeze=False)
    low, high = float(images.min()), float(images.max())
    for number, axes in enumerate(grid.flat):
        axes.axis("off")
        if number < len(images):
            image = np.moveaxis(images[number], 0, -1)
            if image.shape[-1] == 3:
                axes.imshow((image - low) / max(high - low, 1e-12))
            else:
                axes.imshow(image[..., 0], cmap="gray_r", vmin=low, vmax=high)
    save(figure, data.folder / file)
