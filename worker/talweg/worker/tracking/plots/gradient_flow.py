"""The picture of a gradient flow: how large each layer's gradients and updates are, over steps."""

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from talweg.worker.tasks.common.plots.canvas import bare_figure, save
from talweg.worker.tracking.plots.diagnosis import Diagnosis

MOST_LINES = 8
"""More layers are drawn as a map."""
_LONGEST_NAME = 24
# Smaller than the largest by more than this is drawn as if it were by no more.
_FARTHEST = 1e-10
_NOTHING = "0.8"
_QUANTITIES = {
    "gradient_norm": "norm of the gradients",
    "update_ratio": "update / weights",
}

Floats = NDArray[np.float64]


def draw_gradient_flow(diagnosis: Diagnosis) -> None:
    """Draw few layers as lines, many as a map; the first layer is the darkest, or at the top.

    Args:
        diagnosis: Step, layer, and both quantities, which may be empty; step by step, the layers
            in their order.
    """
    layers = list(dict.fromkeys(diagnosis.columns["layer"]))
    steps = np.array(diagnosis.columns["step"], float)[:: len(layers)]
    values = {
        name: np.array([float(v) if v != "" else np.nan for v in diagnosis.columns[name]])
        .reshape(len(steps), len(layers))
        .T
        for name in _QUANTITIES
    }
    names = [_short(layer) for layer in layers]
    if len(layers) <= MOST_LINES:
        _draw_lines(diagnosis, names, steps, values)
    else:
        _draw_maps(diagnosis, names, steps, values)


def _draw_lines(
    diagnosis: Diagnosis, names: Sequence[str], steps: Floats, values: dict[str, Floats]
) -> None:
    figure = bare_figure(7)
    colours = colormaps["plasma"](np.linspace(0, 0.85, len(names)))
    both = figure.subplots(2, 1, sharex=True)
    for axes, (quantity, label) in zip(both, _QUANTITIES.items(), strict=True):
        axes.spines[["top", "right"]].set_visible(False)
        for name, colour, row in zip(names, colours, values[quantity], strict=True):
            # Where players take turns, each has gradients in its own steps alone.
            some = row > 0
            marker = "o" if some.sum() < 10 else ""
            axes.plot(
                steps[some], row[some], lw=1.4, color=colour, label=name, marker=marker, ms=4
            )
        if (values[quantity] > 0).any():
            axes.set_yscale("log")
        axes.set_ylabel(label)
        axes.grid(color="0.9")
    both[1].set_xlabel("optimizer step")
    both[1].xaxis.set_major_locator(MaxNLocator(integer=True))
    handles, texts = both[0].get_legend_handles_labels()
    figure.legend(
        handles, texts, loc="outside right center", frameon=False, title="from the input"
    )
    figure.suptitle(f"Gradient flow: {diagnosis.title}")
    save(figure, diagnosis.picture())


def _draw_maps(
    diagnosis: Diagnosis, names: Sequence[str], steps: Floats, values: dict[str, Floats]
) -> None:
    figure = bare_figure(min(2.4 + 0.16 * len(names), 16))
    both = figure.subplots(1, 2, sharey=True)
    for axes, (quantity, label) in zip(both, _QUANTITIES.items(), strict=True):
        _draw_map(axes, steps, values[quantity], label)
    # As many names as there is room for.
    apart = -(-len(names) // 84)
    both[0].set_yticks(range(0, len(names), apart), list(names)[::apart], fontsize=7)
    both[0].invert_yaxis()
    figure.supxlabel("optimizer step", fontsize=10)
    figure.suptitle(f"Gradient flow: {diagnosis.title}\nfrom the input, at the top; grey: none")
    save(figure, diagnosis.picture())


def _draw_map(axes: Axes, steps: Floats, values: Floats, label: str) -> None:
    shown = np.ma.masked_where(~(values > 0), values)
    axes.set_facecolor(_NOTHING)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.set_title(label, fontsize=11)
    if shown.count() == 0:
        return
    high = float(shown.max())
    low = max(float(shown.min()), high * _FARTHEST)
    scale = LogNorm(low, high if high > low else 2 * low)
    rows = np.arange(shown.shape[0] + 1) - 0.5
    mesh = axes.pcolormesh(_edges(steps), rows, shown, norm=scale, cmap="viridis")
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.colorbar(mesh, ax=axes, location="bottom", pad=0.02, aspect=30)


def _edges(steps: Floats) -> Floats:
    """Return the ends of the columns: half-way between two steps."""
    if len(steps) == 1:
        return np.array([steps[0] - 0.5, steps[0] + 0.5])
    between = (steps[1:] + steps[:-1]) / 2
    return np.concatenate(
        [[1.5 * steps[0] - 0.5 * steps[1]], between, [1.5 * steps[-1] - 0.5 * steps[-2]]]
    )


def _short(layer: str) -> str:
    """Cut a name in its middle, whose ends tell more."""
    name = layer or "(the model)"
    if len(name) <= _LONGEST_NAME:
        return name
    half = (_LONGEST_NAME - 1) // 2
    return f"{name[:half]}…{name[-half:]}"
