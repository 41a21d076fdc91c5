"""The picture of residuals, and the loss in its units."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from talweg.worker.tasks.common.plots.canvas import (
    SERIES,
    VALIDATION,
    PlotData,
    figure_of,
    save,
    short,
)
from talweg.worker.tasks.common.plots.loss_curve import draw_loss_curve
from talweg.worker.tasks.common.plots.task_plots import TaskPlots

RESIDUALS = "residuals.png"

_MOST_DOTS = 3000


def losses(data: PlotData) -> None:
    """Draw the loss over steps, in the units of the targets that it takes."""
    standardised = data.spec.preprocessing.standardise_targets
    draw_loss_curve(data, units="standardised targets" if standardised else "raw targets")


def residuals(data: PlotData) -> None:
    """Draw the residuals."""
    names = data.target_names
    y_true, y_pred = data.arrays["y_true"], data.arrays["y_pred"]
    path = data.folder / RESIDUALS
    draw_residuals(y_true, y_pred, names=names, title=data.title, path=path)


def draw_residuals(
    y_true: NDArray[Any], y_pred: NDArray[Any], *, names: Sequence[str], title: str, path: Path
) -> None:
    """Draw the error of each test sample against its prediction, in the target's units.

    Args:
        y_true: (N,) or (N, K).
        y_pred: As y_true.
        names: Of the K targets; may be empty.
        title: What was trained.
        path: Of the picture.
    """
    true, pred = y_true.reshape(len(y_true), -1), y_pred.reshape(len(y_pred), -1)
    error = pred - true
    shown = np.linspace(0, len(true) - 1, min(len(true), _MOST_DOTS)).astype(int)
    figure, axes = figure_of(5)
    num_targets = true.shape[1]
    for column in range(num_targets):
        name = names[column] if column < len(names) else f"target {column + 1}"
        axes.scatter(
            pred[shown, column],
            error[shown, column],
            s=18,
            alpha=0.6,
            lw=0,
            color=SERIES[column % len(SERIES)],
            label=short(name) if num_targets > 1 and column < len(SERIES) else None,
        )
    axes.axhline(0, color="0.3", lw=1)
    bias = float(error.mean())
    axes.axhline(bias, color=VALIDATION, lw=1.2, ls="--", label=f"mean error {bias:+.3g}")
    mae = float(np.abs(error).mean())
    axes.set_title(f"Residuals: {title}\ntest data, {len(true):,} samples, MAE {mae:.4g}")
    what = short(names[0]) if num_targets == 1 and names else "target"
    axes.set_xlabel(f"predicted {what}, in its own units")
    axes.set_ylabel("predicted − true, in the same units")
    axes.grid(color="0.92")
    axes.legend(frameon=False)
    save(figure, path)


PLOTS = TaskPlots(residuals, losses)
