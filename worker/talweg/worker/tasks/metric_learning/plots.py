"""Pictures of embeddings: the directions in which they vary most, and how far they are apart."""

import numpy as np
from matplotlib import colormaps

from talweg.worker.tasks.common.plots.canvas import PlotData, figure_of, save, short
from talweg.worker.tasks.common.plots.projection import principal
from talweg.worker.tasks.common.plots.task_plots import TaskPlots

EMBEDDINGS = "embeddings.png"
DISTANCES = "distances.png"

_MOST_NAMED = 12
_BINS = 40


def compared(data: PlotData) -> None:
    """Draw embeddings whose classes are known, and distances of pairs of the data."""
    if "embeddings" in data.arrays:
        embeddings(data)
    if "alike" in data.arrays:
        distances(data)


def distances(data: PlotData) -> None:
    """Draw how far samples are apart that belong together, and others."""
    alike, unlike = data.arrays["alike"], data.arrays["unlike"]
    both = np.nan_to_num(np.concatenate([alike, unlike]))
    reach = (0.0, max(float(both.max()), 1e-12))
    figure, axes = figure_of(6)
    for values, name in ((alike, "positive"), (unlike, "negative")):
        axes.hist(
            np.nan_to_num(values),
            bins=_BINS,
            range=reach,
            alpha=0.6,
            label=f"{name} ({len(values):,})",
        )
    axes.set_title(f"Distances: {data.title}\ntest data")
    axes.set_xlabel("distance of two embeddings, as the loss compares them")
    axes.set_ylabel("pairs")
    axes.grid(color="0.92")
    axes.legend(frameon=False)
    save(figure, data.folder / DISTANCES)


def embeddings(data: PlotData) -> None:
    """Draw each sample's embedding as a dot, coloured by its class where it is known."""
    vectors = data.arrays["embeddings"]
    labels = data.arrays.get("labels")
    is_labelled = labels is not None
    if labels is None:
        labels = np.zeros(len(vectors), dtype=np.int64)
    places, share = principal(vectors)
    names = data.class_names
    classes = np.unique(labels)
    colours = colormaps["tab10" if len(classes) <= 10 else "turbo"]
    figure, axes = figure_of(6)
    for number, label in enumerate(classes):
        of_one = labels == label
        colour = colours(number) if len(classes) <= 10 else colours(number / len(classes))
        name = short(names[label]) if label < len(names) else str(label)
        axes.scatter(
            places[of_one, 0],
            places[of_one, 1],
            s=14,
            alpha=0.7,
            lw=0,
            color=colour,
            label=name if len(classes) <= _MOST_NAMED else None,
        )
    axes.set_title(f"Embeddings: {data.title}\ntest data, {len(vectors):,} samples")
    axes.set_xlabel(f"first principal direction, {share[0]:.0%} of the variance")
    axes.set_ylabel(f"second, {share[1]:.0%}")
    axes.set_aspect("equal", adjustable="datalim")
    axes.grid(color="0.92")
    if is_labelled and len(classes) <= _MOST_NAMED:
        axes.legend(frameon=False, title="class", loc="center left", bbox_to_anchor=(1, 0.5))
    save(figure, data.folder / EMBEDDINGS)


PLOTS = TaskPlots(compared)
