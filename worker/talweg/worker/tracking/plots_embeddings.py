"""Pictures of embeddings: the directions in which they vary most, and how far they are apart."""

from typing import Any

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray

from talweg.worker.tracking.canvas import Finding, figure_of, save, short

EMBEDDINGS = "embeddings.png"
DISTANCES = "distances.png"

_MOST_NAMED = 12
_BINS = 40


def compared(finding: Finding) -> None:
    """Draw embeddings whose classes are known, and distances of pairs that were given."""
    if "embeddings" in finding.shown:
        embeddings(finding)
    if "alike" in finding.shown:
        distances(finding)


def distances(finding: Finding) -> None:
    """Draw how far samples are apart that belong together, and others."""
    alike, unlike = finding.shown["alike"], finding.shown["unlike"]
    both = np.nan_to_num(np.concatenate([alike, unlike]))
    reach = (0.0, max(float(both.max()), 1e-12))
    figure, axes = figure_of(6)
    for values, name in ((alike, "belong together"), (unlike, "do not")):
        axes.hist(
            np.nan_to_num(values),
            bins=_BINS,
            range=reach,
            alpha=0.6,
            label=f"{name} ({len(values):,})",
        )
    axes.set_title(f"Distances: {finding.title}\ntest data")
    axes.set_xlabel("distance of two embeddings, as the loss compares them")
    axes.set_ylabel("pairs")
    axes.grid(color="0.92")
    axes.legend(frameon=False)
    save(figure, finding.folder / DISTANCES)


def embeddings(finding: Finding) -> None:
    """Draw each sample's embedding as a dot, coloured by its class."""
    vectors, labels = finding.shown["embeddings"], finding.shown["labels"]
    places, share = principal(vectors)
    names = finding.data.get("class_names", [])
    found = np.unique(labels)
    colours = colormaps["tab10" if len(found) <= 10 else "turbo"]
    figure, axes = figure_of(6)
    for number, label in enumerate(found):
        of_one = labels == label
        colour = colours(number) if len(found) <= 10 else colours(number / len(found))
        name = short(names[label]) if label < len(names) else str(label)
        axes.scatter(
            places[of_one, 0],
            places[of_one, 1],
            s=14,
            alpha=0.7,
            lw=0,
            color=colour,
            label=name if len(found) <= _MOST_NAMED else None,
        )
    axes.set_title(f"Embeddings: {finding.title}\ntest data, {len(vectors):,} samples")
    axes.set_xlabel(f"first principal direction, {share[0]:.0%} of the variance")
    axes.set_ylabel(f"second, {share[1]:.0%}")
    axes.set_aspect("equal", adjustable="datalim")
    axes.grid(color="0.92")
    if len(found) <= _MOST_NAMED:
        axes.legend(frameon=False, title="class", loc="center left", bbox_to_anchor=(1, 0.5))
    save(figure, finding.folder / EMBEDDINGS)


def principal(vectors: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Projects onto the two directions of the largest variance.

    Args:
        vectors: (N, D).

    Returns:
        Places (N, 2), and each direction's share of the variance (2,); 0 where there is no
        such direction.
    """
    centred = np.nan_to_num(vectors.astype(np.float64))
    centred -= centred.mean(axis=0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    places, share = np.zeros((len(vectors), 2)), np.zeros(2)
    count = min(2, len(sizes))
    places[:, :count] = left[:, :count] * sizes[:count]
    share[:count] = sizes[:count] ** 2 / max(float((sizes**2).sum()), 1e-300)
    return places, share
