"""Pictures of made samples, and of what each player pays."""

from matplotlib.ticker import MaxNLocator

from talweg.worker.tasks.common.plots.canvas import SERIES, PlotData, figure_of, save
from talweg.worker.tasks.common.plots.loss_curve import LOSS_CURVE, curves_of, loss_name
from talweg.worker.tasks.common.plots.samples import draw_samples
from talweg.worker.tasks.common.plots.task_plots import TaskPlots


def game(data: PlotData) -> None:
    """Draw samples of the generator."""
    draw_samples(data, data.arrays["originals"])


def players(data: PlotData) -> None:
    """Draw the losses of critic and generator over steps."""
    curves = curves_of(data, "train/critic_loss", "train/generator_loss")
    if not any(curves.values()):
        return
    figure, axes = figure_of(5)
    for (name, curve), colour in zip(curves.items(), SERIES, strict=False):
        if curve:
            label = name.removeprefix("train/").removesuffix("_loss")
            axes.plot(*zip(*curve, strict=True), color=colour, lw=1.2, label=label)
    axes.set_title(f"Generator and critic loss: {data.title}")
    axes.set_xlabel("optimizer step")
    axes.set_ylabel(loss_name(data))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(color="0.9")
    axes.legend(frameon=False)
    save(figure, data.folder / LOSS_CURVE)


PLOTS = TaskPlots(game, players)
