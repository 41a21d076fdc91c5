"""The picture of weights that a loss learns, over the steps."""

from matplotlib.ticker import MaxNLocator

from talweg.worker.tasks.common.plots.canvas import SERIES, PlotData, figure_of, save

_OF_WEIGHTS = "weights/"
# Weights that are further apart than this are drawn on a logarithmic axis.
_LOG_FROM = 30.0


def draw_weights(data: PlotData, file: str, *, of: str, weighed: str) -> None:
    """Draw the metrics weights/NAME, where there are any.

    Args:
        data: What is drawn from.
        file: Of the picture.
        of: What has the weights, such as "heads".
        weighed: What a weight multiplies.
    """
    curves: dict[str, list[tuple[int, float]]] = {}
    for step, _, values in data.points():
        for name, value in values.items():
            if name.startswith(_OF_WEIGHTS):
                curves.setdefault(name.removeprefix(_OF_WEIGHTS), []).append((step, value))
    if not curves:
        return
    figure, axes = figure_of(5)
    for place, (name, curve) in enumerate(sorted(curves.items())):
        steps, weights = zip(*curve, strict=True)
        text = f"{name}, {weights[-1]:.3g} at the end"
        axes.plot(steps, weights, lw=1.6, color=SERIES[place % len(SERIES)], label=text)
    drawn = [value for curve in curves.values() for _, value in curve]
    if min(drawn) > 0 and max(drawn) > _LOG_FROM * min(drawn):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
    axes.set_title(f"Weights of the {of}: {data.title}")
    axes.set_xlabel("optimizer step")
    axes.set_ylabel(f"weight of {weighed}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(color="0.9")
    axes.legend(frameon=False)
    save(figure, data.folder / file)
