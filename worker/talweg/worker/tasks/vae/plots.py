"""Pictures of reconstructions and of samples of codes."""

import numpy as np

from talweg.worker.tasks.common.plots.canvas import SERIES, PlotData, figure_of, save
from talweg.worker.tasks.common.plots.samples import draw_images, draw_samples
from talweg.worker.tasks.common.plots.task_plots import TaskPlots

RECONSTRUCTIONS = "reconstructions.png"


def codes(data: PlotData) -> None:
    """Draw samples of the decoder, and what it makes of real ones."""
    originals, again = data.arrays["originals"], data.arrays["again"]
    draw_samples(data, originals)
    figure_title = f"Reconstructions: {data.title}\ntest data above, made again below"
    if originals.ndim == 4:
        pairs = np.concatenate([originals, again])
        draw_images(data, pairs, len(originals), figure_title, RECONSTRUCTIONS)
        return
    figure, axes = figure_of(5)
    flat, others = originals.reshape(len(originals), -1), again.reshape(len(again), -1)
    for number, (true, made) in enumerate(zip(flat, others, strict=True)):
        axes.scatter(true, made, s=18, alpha=0.7, lw=0, color=SERIES[number % len(SERIES)])
    low, high = min(flat.min(), others.min()), max(flat.max(), others.max())
    axes.plot([low, high], [low, high], color="0.3", lw=1)
    axes.set_title(f"Reconstructions: {data.title}\n{len(flat)} samples of the test data")
    axes.set_xlabel("true value")
    axes.set_ylabel("reconstructed value")
    axes.grid(color="0.92")
    save(figure, data.folder / RECONSTRUCTIONS)


PLOTS = TaskPlots(codes)
