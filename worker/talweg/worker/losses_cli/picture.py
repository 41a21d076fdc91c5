"""Curves of losses in one picture: the values on the left, the gradients on the right."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from talweg.worker.losses_cli.curves import Curve, Setting

SUFFIXES = (".png", ".svg", ".pdf")
"""The kinds of pictures, by the file's name."""

# Told apart in grey too, by dashes, and where they lie on each other, by widths.
_COLOURS = ("#1f6f8b", "#c0392b", "#b8860b", "#2f7d4f", "#8e5ea2", "#7f8fa6", "#d35400", "#2c3e50")
_DASHES: tuple[tuple[int, tuple[float, ...] | None], ...] = (
    (0, None),
    (0, (4, 1.5)),
    (0, (5, 1.5, 1, 1.5)),
    (0, (1, 1)),
    (0, (8, 2)),
    (0, (3, 1, 1, 1, 1, 1)),
    (0, (2, 2)),
    (0, (8, 2, 1, 2)),
)
_WIDEST, _NARROWEST = 2.6, 1.6
_SIZE = (10.0, 4.4)
_DPI = 150
# A curve that shoots up beyond this many times what the others need is cut off.
_ROOM = 4.0


def save(curves: Sequence[Curve], setting: Setting, path: Path) -> None:
    """Draw curves and write the picture.

    Args:
        curves: At least one, all over the setting's axis.
        setting: What they have in common.
        path: Of the picture; its suffix is one of `SUFFIXES`.
    """
    figure = Figure(figsize=_SIZE, layout="constrained")
    left, right = figure.subplots(1, 2)
    _panel(left, curves, setting, "loss", lambda curve: curve.value)
    _panel(right, curves, setting, setting.axis.gradient, lambda curve: curve.gradient)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=_columns(labels),
        frameon=False,
        handlelength=3.2,
    )
    # The same curves give the same file, so that a picture in a repository changes with them only.
    metadata = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(path.suffix.lower())
    with matplotlib.rc_context({"svg.hashsalt": "talweg"}):
        figure.savefig(path, dpi=_DPI, metadata=metadata)


def _panel(
    axes: Axes,
    curves: Sequence[Curve],
    setting: Setting,
    meaning: str,
    of: Callable[[Curve], list[float]],
) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="0.92")
    axes.set_axisbelow(True)
    axes.axhline(0, color="0.6", lw=0.8)
    if setting.low < 0 < setting.high:
        axes.axvline(0, color="0.6", lw=0.8)
    widths = np.linspace(_WIDEST, _NARROWEST, max(len(curves), 3))
    for index, curve in enumerate(curves):
        axes.plot(
            curve.x,
            of(curve),
            color=_COLOURS[index % len(_COLOURS)],
            ls=_DASHES[index % len(_DASHES)],
            lw=widths[index],
            label=curve.label,
        )
    axes.set_xlim(setting.low, setting.high)
    axes.set_xlabel(setting.words)
    axes.set_ylabel(meaning)
    bounds = _bounds([of(curve) for curve in curves])
    if bounds is not None:
        axes.set_ylim(*bounds)


def _bounds(curves: Sequence[Sequence[float]]) -> tuple[float, float] | None:
    """Give what to show of the y axis; None where nothing shoots out of the picture."""
    numbers = np.concatenate([np.asarray(curve, dtype=float) for curve in curves])
    numbers = numbers[np.isfinite(numbers)]
    if not len(numbers):
        return None
    low, usual_low, usual_high, high = np.quantile(numbers, [0, 0.02, 0.98, 1])
    span = max(usual_high - usual_low, 1e-9)
    if high <= usual_high + _ROOM * span and low >= usual_low - _ROOM * span:
        return None
    return max(low, usual_low - span) - 0.05 * span, min(high, usual_high + span) + 0.05 * span


def _columns(labels: Sequence[str]) -> int:
    """Give as many columns of the legend as its longest label leaves room for."""
    width = max(len(label) for label in labels) + 8
    return max(1, min(len(labels), math.floor(120 / width)))
