"""The pictures of a run: the loss curve, and those of its task."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from matplotlib.ticker import MaxNLocator
from safetensors.numpy import load_file

from talweg.spec import kind
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.tracking import (
    plots_answers,
    plots_boxes,
    plots_embeddings,
    plots_heads,
    plots_images,
    plots_samples,
)
from talweg.worker.tracking.attempts import SpooledAttempt
from talweg.worker.tracking.canvas import (
    SERIES,
    TEST,
    TRAIN,
    VALIDATION,
    Finding,
    figure_of,
    save,
    title,
)
from talweg.worker.tracking.spool import PREDICTIONS

LOSS_CURVE = "loss_curve.png"

_MOST_CURVE_POINTS = 1000
# A loss that falls by more than this is drawn on a logarithmic axis.
_LOG_FROM = 30.0

Curve = list[tuple[int, float]]

TASKS: dict[str, Callable[[Finding], None]] = {
    "regression": plots_answers.regression,
    "binary": plots_answers.classes,
    "multiclass": plots_answers.classes,
    "multilabel": plots_answers.labels,
    "ordinal": plots_answers.classes,
    "segmentation": plots_images.masks,
    "detection": plots_boxes.boxes,
    "metric_learning": plots_embeddings.compared,
    "self_supervised": plots_embeddings.embeddings,
    "gan": plots_samples.game,
    "vae": plots_samples.codes,
    "image_translation": plots_images.translations,
    "multitask": plots_heads.heads,
}
"""Every member of `Task` with what draws its pictures from what it keeps of the test data."""


def draw_all(attempt: SpooledAttempt, spec: JobSpec, folder: Path) -> None:
    """Draw every picture for which the attempt holds the data.

    Args:
        attempt: The last one of its job.
        spec: Filled.
        folder: Where the pictures go.
    """
    draw = draw_players if kind(spec.task)[0] == "gan" else draw_loss_curve
    draw(attempt, spec, folder / LOSS_CURVE)
    if PREDICTIONS not in attempt.files or attempt.data is None:
        return
    shown = load_file(attempt.folder / PREDICTIONS)
    if all(map(len, shown.values())):
        task, _ = kind(spec.task)
        TASKS[task](Finding(shown, attempt.data, spec, attempt, folder))


def thinned(points: Iterable[tuple[int, float]], *, most: int) -> Curve:
    """Return a curve's points, every second one dropped whenever there are more than `most`."""
    kept: Curve = []
    stride, last = 1, None
    for count, point in enumerate(points):
        last = point
        if count % stride == 0:
            kept.append(point)
            if len(kept) > most:
                kept, stride = kept[::2], 2 * stride
    if last is not None and kept[-1] != last:
        kept.append(last)
    return kept


def curves_of(attempt: SpooledAttempt, *names: str) -> Mapping[str, Curve]:
    """Return the points of metrics by their names, thinned."""
    found: dict[str, Curve] = {name: [] for name in names}
    for step, _, values in attempt.points():
        for name, curve in found.items():
            if name in values:
                curve.append((step, values[name]))
    return {name: thinned(curve, most=_MOST_CURVE_POINTS) for name, curve in found.items()}


def draw_loss_curve(attempt: SpooledAttempt, spec: JobSpec, path: Path) -> None:
    """Training and validation loss over steps, the best validation loss marked.

    Args:
        attempt: Holds the points.
        spec: Filled.
        path: Of the picture.
    """
    curves = curves_of(attempt, "train/loss", "val/loss", "test/loss")
    train, validation, test = (curves[f"{part}/loss"] for part in ("train", "val", "test"))
    values = [value for curve in curves.values() for _, value in curve]
    if not values:
        return
    figure, axes = figure_of(5)
    if train:
        axes.plot(*zip(*train, strict=True), color=TRAIN, lw=1.2, label="training batch")
    if validation:
        axes.plot(*zip(*validation, strict=True), color=VALIDATION, lw=1.8, label="validation")
        step, best = min(validation, key=lambda point: point[1])
        text = f"best validation {best:.4g}, step {step:,}"
        axes.plot([step], [best], "o", color=VALIDATION, ms=6, label=text)
    if test:
        step, final = test[-1]
        axes.plot([step], [final], "D", color=TEST, ms=6, label=f"test {final:.4g}")
    axes.set_title(f"Loss: {title(spec)}")
    axes.set_xlabel("optimizer step")
    axes.set_ylabel(_loss_axis(spec))
    if min(values) > 0 and max(values) > _LOG_FROM * min(values):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(color="0.9")
    axes.legend(frameon=False)
    save(figure, path)


def draw_players(attempt: SpooledAttempt, spec: JobSpec, path: Path) -> None:
    """Draw the losses of critic and generator over steps.

    Args:
        attempt: Holds the points.
        spec: Filled, of an adversarial game.
        path: Of the picture.
    """
    curves = curves_of(attempt, "train/critic_loss", "train/generator_loss")
    if not any(curves.values()):
        return
    figure, axes = figure_of(5)
    for (name, curve), colour in zip(curves.items(), SERIES, strict=False):
        if curve:
            label = name.removeprefix("train/").removesuffix("_loss")
            axes.plot(*zip(*curve, strict=True), color=colour, lw=1.2, label=label)
    axes.set_title(f"What each player pays: {title(spec)}")
    axes.set_xlabel("optimizer step")
    axes.set_ylabel(_loss_axis(spec))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(color="0.9")
    axes.legend(frameon=False)
    save(figure, path)


def _loss_axis(spec: JobSpec) -> str:
    if kind(spec.task)[0] == "regression":
        units = "standardised targets" if spec.preprocessing.standardise_targets else "raw targets"
        return f"{kind(spec.loss)[0]} ({units})"
    return f"{kind(spec.loss)[0]}"
