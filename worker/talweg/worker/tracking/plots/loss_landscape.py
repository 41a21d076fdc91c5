"""The pictures of a loss landscape: from above, and as a surface."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from talweg.spec import kind
from talweg.worker.tasks.common.plots.canvas import VALIDATION, bare_figure, figure_of, save
from talweg.worker.tracking.plots.diagnosis import Diagnosis

SURFACE = "surface"
_NUM_LEVELS = 15
# A loss is drawn on a scale of its own where the largest is so far above the usual.
_WIDE = 30.0

Floats = NDArray[np.float64]


class Scale(NamedTuple):
    """How a loss becomes a height."""

    up: Callable[[Floats], Floats]
    """From losses to heights."""
    down: Callable[[Floats], Floats]
    """And back."""
    name: str
    """Behind the axis's label; may be empty."""


def scale_of(losses: Floats) -> Scale:
    """Choose a scale on which the whole of a landscape can be seen.

    Args:
        losses: Finite, at least one.
    """
    low, middle, high = (float(value) for value in np.quantile(losses, (0, 0.5, 1)))
    if low > 0 and high > _WIDE * low:
        return Scale(np.log10, lambda heights: 10**heights, ", log scale")
    if high - low > _WIDE * (middle - low) > 0:
        unit = middle - low
        return Scale(
            lambda values: np.arcsinh((values - low) / unit),
            lambda heights: low + unit * np.sinh(heights),
            ", log scale above the minimum",
        )
    return Scale(lambda values: values, lambda heights: heights, "")


def draw_loss_landscape(diagnosis: Diagnosis) -> None:
    """Draw the loss around the weights.

    Args:
        diagnosis: Columns `one`, `two` and `loss`, row by row of `one`; losses may be the words
            inf and nan.
    """
    ones, twos = np.unique(diagnosis.columns["one"]), np.unique(diagnosis.columns["two"])
    losses = np.array([float(loss) for loss in diagnosis.columns["loss"]])
    grid = losses.reshape(len(ones), len(twos))
    finite = grid[np.isfinite(grid)]
    if not len(finite):
        return
    scale = scale_of(finite)
    heights = np.where(np.isfinite(grid), scale.up(np.where(np.isfinite(grid), grid, 1.0)), np.nan)
    _draw_contour(diagnosis, ones, twos, heights, scale)
    _draw_surface(diagnosis, ones, twos, heights, scale)


def _draw_contour(
    diagnosis: Diagnosis, ones: Floats, twos: Floats, heights: Floats, scale: Scale
) -> None:
    figure, axes = figure_of(7)
    low, high = float(np.nanmin(heights)), float(np.nanmax(heights))
    if high > low:
        shown = np.ma.masked_invalid(heights.T)
        levels = np.linspace(low, high, _NUM_LEVELS)
        filled = axes.contourf(ones, twos, shown, levels=levels, cmap="viridis")
        axes.contour(
            ones, twos, shown, levels=levels, colors="white", linewidths=0.5, linestyles="solid"
        )
        bar = figure.colorbar(filled, ax=axes, label=_loss_of(diagnosis) + scale.name, shrink=0.8)
        bar.set_ticks(list(levels[::2]))
        bar.ax.yaxis.set_major_formatter(_formatter(scale))
    bad = np.isnan(heights)
    if bad.any():
        at_one, at_two = np.meshgrid(ones, twos, indexing="ij")
        text = f"not finite: {int(bad.sum())} of {bad.size} points"
        axes.plot(at_one[bad], at_two[bad], "x", color="0.4", ms=4, label=text)
    middle = diagnosis.facts["middle"]
    text = f"the job's weights, {middle:.4g}" if isinstance(middle, float) else "the job's weights"
    axes.plot([0], [0], "o", color=VALIDATION, ms=7, mec="white", label=text)
    least = np.unravel_index(np.nanargmin(heights), heights.shape)
    if isinstance(middle, float) and float(scale.down(heights[least])) < middle:
        text = f"the least, {float(scale.down(heights[least])):.4g}"
        at = [ones[least[0]]], [twos[least[1]]]
        axes.plot(*at, "*", color="white", ms=12, mec="0.2", label=text)
    axes.set_aspect("equal")
    _label(axes, diagnosis)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    save(figure, diagnosis.picture())


def _draw_surface(
    diagnosis: Diagnosis, ones: Floats, twos: Floats, heights: Floats, scale: Scale
) -> None:
    figure = bare_figure(6.5)
    # matplotlib has no types for what only axes in space can.
    axes: Any = figure.add_subplot(projection="3d", computed_zorder=False)
    at_one, at_two = np.meshgrid(ones, twos, indexing="ij")
    low, high = float(np.nanmin(heights)), float(np.nanmax(heights))
    axes.plot_surface(
        at_one,
        at_two,
        heights,
        cmap="viridis",
        vmin=low,
        vmax=high,
        rcount=len(ones),
        ccount=len(twos),
        edgecolor="0.3",
        linewidth=0.15,
    )
    if np.isfinite(heights[len(ones) // 2, len(twos) // 2]):
        middle = heights[len(ones) // 2, len(twos) // 2]
        axes.plot([0], [0], [middle], "o", color=VALIDATION, ms=6, mec="white", zorder=5)
    axes.zaxis.set_major_formatter(_formatter(scale))
    axes.set_zlabel(_loss_of(diagnosis) + scale.name, labelpad=10)
    _label(axes, diagnosis)
    axes.xaxis.labelpad = axes.yaxis.labelpad = 8
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5))
    axes.view_init(elev=32, azim=-52)
    axes.set_box_aspect((1, 1, 0.75), zoom=0.92)
    save(figure, diagnosis.picture(SURFACE))


def _label(axes: Axes, diagnosis: Diagnosis) -> None:
    bad = sum(isinstance(loss, str) for loss in diagnosis.columns["loss"])
    missing = f"; {bad} non-finite points are left out" if bad else ""
    of = f"loss of {diagnosis.facts['samples']:.0f} training samples"
    axes.set_title(f"Loss landscape: {diagnosis.title}\n{of}{missing}")
    axes.set_xlabel("along the first direction")
    axes.set_ylabel("along the second direction")


def _loss_of(diagnosis: Diagnosis) -> str:
    return kind(diagnosis.spec.loss)[0]


def _formatter(scale: Scale) -> FuncFormatter:
    return FuncFormatter(lambda height, _: f"{float(scale.down(np.asarray(height))):.3g}")
