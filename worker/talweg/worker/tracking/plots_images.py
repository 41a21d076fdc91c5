"""Pictures of tasks over images: masks or images beside what is true, and each class's IoU."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from numpy.typing import NDArray

from talweg.worker.tracking.canvas import TEST, VALIDATION, Finding, bare_figure, figure_of, save
from talweg.worker.tracking.plots_weights import draw_weights

MASKS = "masks.png"
IOU = "iou_by_class.png"
IMAGES = "images.png"
LAYER_WEIGHTS = "layer_weights.png"

# The background is dark, and classes are told apart by hue.
_BACKGROUND = (0.1, 0.1, 0.1, 1.0)
_INCHES_A_ROW = 2.1


def masks(finding: Finding) -> None:
    """Draw images of the test data beside their masks and the model's, and the classes' IoU."""
    shown = finding.shown
    pairs = shown["confusion"]
    names = list(finding.data.get("class_names", []))
    if len(names) != len(pairs):
        names = ["background", "foreground"]
    colours = colours_of(len(names))
    columns = ["image", "truth", "answer", "wrong"]
    count = len(shown["image"])
    figure = bare_figure(_INCHES_A_ROW * count + 0.6)
    grid = np.atleast_2d(figure.subplots(count, len(columns)))
    for row, axes in enumerate(grid):
        mask, answer = shown["mask"][row], shown["answer"][row]
        draw_image(axes[0], shown["image"][row])
        for place, values in ((1, mask), (2, answer)):
            axes[place].imshow(values, cmap=colours, vmin=0, vmax=len(names) - 1)
        axes[3].imshow(mask != answer, cmap="Reds", vmin=0, vmax=1)
    label_grid(grid, columns)
    figure.suptitle(f"Masks: {finding.title}\nfrom the test data")
    save(figure, finding.folder / MASKS)
    _draw_iou(finding, pairs, names)


def _draw_iou(finding: Finding, pairs: NDArray[Any], names: Sequence[str]) -> None:
    hits = np.diagonal(pairs).astype(float)
    union = pairs.sum(axis=0) + pairs.sum(axis=1) - hits
    iou = np.divide(hits, union, out=np.zeros_like(hits), where=union > 0)
    figure, axes = figure_of(5)
    axes.bar(range(len(iou)), iou, color=["0.7", *[TEST] * (len(iou) - 1)])
    mean = float(iou[1:][union[1:] > 0].mean()) if (union[1:] > 0).any() else 0.0
    axes.axhline(mean, color=VALIDATION, lw=1.2, ls="--", label=f"mean of the classes {mean:.3f}")
    axes.set_xticks(range(len(iou)), list(names), rotation=90 if len(iou) > 12 else 0)
    axes.set_ylim(0, 1)
    axes.set_ylabel("intersection over union")
    axes.set_title(f"IoU: {finding.title}\nall pixels of the test data")
    axes.legend(frameon=False)
    save(figure, finding.folder / IOU)


def translations(finding: Finding) -> None:
    """Draw images of the test data beside what should come of them, what did, and the error.

    And the weights of layers, where the loss learns them.
    """
    draw_weights(finding, LAYER_WEIGHTS, of="layers", weighed="a layer's squared error")
    shown = finding.shown
    columns = ["input", "target", "output", "error"]
    count = len(shown["image"])
    figure = bare_figure(_INCHES_A_ROW * count + 0.6)
    grid = np.atleast_2d(figure.subplots(count, len(columns)))
    for row, axes in enumerate(grid):
        target, answer = shown["target"][row], shown["answer"][row]
        draw_image(axes[0], shown["image"][row])
        for place, values in ((1, target), (2, answer)):
            draw_image(axes[place], values, limits=(0, 1))
        axes[3].imshow(np.abs(answer - target).mean(axis=0), cmap="Reds", vmin=0, vmax=1)
    label_grid(grid, columns)
    figure.suptitle(f"Images: {finding.title}\nfrom the test data")
    save(figure, finding.folder / IMAGES)


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


def label_grid(grid: NDArray[Any], columns: Sequence[str]) -> None:
    """Write over each column what it shows, and take the ticks off."""
    for axes in grid.flat:
        axes.set_xticks([])
        axes.set_yticks([])
    for axes, text in zip(grid[0], columns, strict=True):
        axes.set_title(text, fontsize=11)
