"""The picture of a divergence."""

from pathlib import Path

from matplotlib.ticker import MaxNLocator

from talweg.v1.jobs_pb2 import Divergence
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.tasks.common.plots.canvas import TEST, VALIDATION, figure_of, save, title


def draw_divergence(divergence: Divergence, spec: JobSpec, path: Path) -> None:
    """Draw the losses and gradient norms before a step that was refused.

    Args:
        divergence: What the guard saw; with a loss at the least.
        spec: Filled.
        path: Of the picture.
    """
    figure, axes = figure_of(5)
    curves = (
        (divergence.losses, VALIDATION, "loss"),
        (divergence.gradient_norms, TEST, "gradient norm"),
    )
    for values, colour, name in curves:
        steps = range(divergence.step - len(values), divergence.step)
        axes.plot(steps, values, "o-", color=colour, ms=4, lw=1.5, label=name)
    axes.axvline(
        divergence.step,
        color="0.3",
        ls="--",
        lw=1.2,
        label=f"{divergence.what} {divergence.value}",
    )
    if min([*divergence.losses, *divergence.gradient_norms]) > 0:
        axes.set_yscale("log")
    axes.set_title(f"Before step {divergence.step}: {title(spec)}")
    axes.set_xlabel("optimizer step (steps that were applied)")
    axes.set_ylabel("loss and gradient norm")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(color="0.9")
    axes.legend(frameon=False)
    save(figure, path)
