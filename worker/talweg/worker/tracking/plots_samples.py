"""Pictures of made samples beside real ones."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from talweg.worker.tracking.canvas import SERIES, Finding, bare_figure, figure_of, save
from talweg.worker.tracking.plots_embeddings import principal

SAMPLES = "samples.png"
RECONSTRUCTIONS = "reconstructions.png"

_SIDE = 8


def game(finding: Finding) -> None:
    """Draw samples of the generator."""
    _samples(finding, finding.shown["originals"])


def codes(finding: Finding) -> None:
    """Draw samples of the decoder, and what it makes of real ones."""
    originals, again = finding.shown["originals"], finding.shown["again"]
    _samples(finding, originals)
    figure_title = f"Reconstructions: {finding.title}\ntest data above, made again below"
    if originals.ndim == 4:
        pairs = np.concatenate([originals, again])
        _images(finding, pairs, len(originals), figure_title, RECONSTRUCTIONS)
        return
    figure, axes = figure_of(5)
    flat, others = originals.reshape(len(originals), -1), again.reshape(len(again), -1)
    for number, (true, made) in enumerate(zip(flat, others, strict=True)):
        axes.scatter(true, made, s=18, alpha=0.7, lw=0, color=SERIES[number % len(SERIES)])
    low, high = min(flat.min(), others.min()), max(flat.max(), others.max())
    axes.plot([low, high], [low, high], color="0.3", lw=1)
    axes.set_title(f"Reconstructions: {finding.title}\n{len(flat)} samples of the test data")
    axes.set_xlabel("true number")
    axes.set_ylabel("the same, made again")
    axes.grid(color="0.92")
    save(figure, finding.folder / RECONSTRUCTIONS)


def _samples(finding: Finding, originals: NDArray[Any]) -> None:
    samples = finding.shown["samples"]
    if samples.ndim == 4:
        few = samples[: _SIDE * _SIDE]
        _images(finding, few, _SIDE, f"Samples: {finding.title}", SAMPLES)
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
    axes.set_title(f"Samples: {finding.title}")
    axes.set_xlabel("first number" if is_plane else "first principal direction")
    axes.set_ylabel("second number" if is_plane else "second principal direction")
    axes.set_aspect("equal", adjustable="datalim")
    axes.grid(color="0.92")
    axes.legend(frameon=False)
    save(figure, finding.folder / SAMPLES)


def _images(finding: Finding, images: NDArray[Any], across: int, title: str, file: str) -> None:
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
    save(figure, finding.folder / file)
