"""The loss over steps, and any other metric."""

from collections.abc import Iterable, Mapping

from matplotlib.ticker import MaxNLocator

from talweg.spec import kind
from talweg.worker.tasks.common.plots.canvas import (
    TEST,
    TRAIN,
    VALIDATION,
    PlotData,
    figure_of,
    save,
)

LOSS_CURVE = "loss_curve.png"

_MOST_CURVE_POINTS = 1000
# A loss that falls by more than this is drawn on a logarithmic axis.
_LOG_FROM = 30.0

Curve = list[tuple[int, float]]


def thinned(points: Iterable[tuple[int, float]], *, most: int) -> Curve:
    """Return a curve's points, every second one dropped whenever there are more than `most`."""
    points_left: Curve = []
    stride, last = 1, None
    for count, point in enumerate(points):
        last = point
        if count % stride == 0:
            points_left.append(point)
            if len(points_left) > most:
                points_left, stride = points_left[::2], 2 * stride
    if last is not None and points_left[-1] != last:
        points_left.append(last)
    return points_left


def curves_of(data: PlotData, *names: str) -> Mapping[str, Curve]:
    """Return the points of metrics by their names, thinned."""
    curves: dict[str, Curve] = {name: [] for name in names}
    for step, _, values in data.points():
        for name, curve in curves.items():
            if name in values:
                curve.append((step, values[name]))
    return {name: thinned(curve, most=_MOST_CURVE_POINTS) for name, curve in curves.items()}


def draw_loss_curve(data: PlotData, *, units: str = "") -> None:
    """Draw training and validation loss over steps, the best validation loss marked.

    Args:
        data: What is drawn from.
        units: Of what the loss takes; empty for none.
    """
    means, batches, validation, test = curves_of(
        data, "train/loss_mean", "train/loss", "val/loss", "test/loss"
    ).values()
    # Jobs of earlier versions have single batches' losses alone.
    train, label = (means, "training, mean of steps") if means else (batches, "training batch")
    values = [value for curve in (train, validation, test) for _, value in curve]
    if not values:
        return
    figure, axes = figure_of(5)
    if train:
        axes.plot(*zip(*train, strict=True), color=TRAIN, lw=1.2, label=label)
    if validation:
        axes.plot(*zip(*validation, strict=True), color=VALIDATION, lw=1.8, label="validation")
        step, best = min(validation, key=lambda point: point[1])
        text = f"best validation {best:.4g}, step {step:,}"
        axes.plot([step], [best], "o", color=VALIDATION, ms=6, label=text)
    if test:
        step, final = test[-1]
        axes.plot([step], [final], "D", color=TEST, ms=6, label=f"test {final:.4g}")
    axes.set_title(f"Loss: {data.title}")
    axes.set_xlabel("optimizer step")
    axes.set_ylabel(f"{loss_name(data)} ({units})" if units else loss_name(data))
    if min(values) > 0 and max(values) > _LOG_FROM * min(values):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(color="0.9")
    axes.legend(frameon=False)
    save(figure, data.folder / LOSS_CURVE)


def loss_name(data: PlotData) -> str:
    """Return the name of the job's loss."""
    return kind(data.spec.loss)[0]
