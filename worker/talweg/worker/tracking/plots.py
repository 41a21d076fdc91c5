"""The pictures of a run: loss curve, and residuals or confusion matrix. 800 pixels wide."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from safetensors.numpy import load_file

from talweg.spec import kind, label, seed_of
from talweg.v1.jobs_pb2 import Divergence
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.tracking.attempts import SpooledAttempt
from talweg.worker.tracking.spool import PREDICTIONS

LOSS_CURVE = "loss_curve.png"
RESIDUALS = "residuals.png"
CONFUSION = "confusion_matrix.png"

_DPI = 100
_TRAIN, _VALIDATION, _TEST = "#7f8fa6", "#c0392b", "#1f6f8b"
_TARGETS = ("#1f6f8b", "#c0392b", "#2f7d4f", "#8e5ea2", "#b8860b")
_MOST_CURVE_POINTS = 1000
_MOST_DOTS = 3000
_MOST_NUMBERED_CLASSES = 16
_MOST_NAMED_CLASSES = 40
# A loss that falls by more than this is drawn on a logarithmic axis.
_LOG_FROM = 30.0
_LONGEST_NAME, _LONGEST_TITLE = 14, 70

Curve = list[tuple[int, float]]


def draw_all(attempt: SpooledAttempt, spec: JobSpec, folder: Path) -> None:
    """Draws every picture for which the attempt holds the data.

    Args:
        attempt: the last one of its job.
        spec: filled.
        folder: where the pictures go.
    """
    draw_loss_curve(attempt, spec, folder / LOSS_CURVE)
    if PREDICTIONS not in attempt.files or attempt.data is None:
        return
    found = load_file(attempt.folder / PREDICTIONS)
    y_true, y_pred = found["y_true"], found["y_pred"]
    if not len(y_true):
        return
    task, _ = kind(spec.task)
    title = _title(spec)
    if task == "regression":
        names = attempt.data.get("target_names", [])
        draw_residuals(y_true, y_pred, names=names, title=title, path=folder / RESIDUALS)
        return
    names = attempt.data.get("class_names", [])
    if task == "multilabel":
        draw_label_table(y_true, y_pred, names=names, title=title, path=folder / CONFUSION)
    else:
        draw_confusion(y_true, y_pred, names=names, title=title, path=folder / CONFUSION)


def _title(spec: JobSpec) -> str:
    text = f"{label(spec.loss)} on {kind(spec.dataset)[0]}, seed {seed_of(spec)}"
    return textwrap.shorten(text, _LONGEST_TITLE, placeholder="…")


def _figure(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(8, height), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    return figure, axes


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=_DPI)


def thinned(points: Iterable[tuple[int, float]], *, most: int) -> Curve:
    """A curve's points, every second one dropped whenever there are more than `most`."""
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


def _curves(attempt: SpooledAttempt) -> Mapping[str, Curve]:
    found: dict[str, Curve] = {"train/loss": [], "val/loss": [], "test/loss": []}
    for step, _, values in attempt.points():
        for name, curve in found.items():
            if name in values:
                curve.append((step, values[name]))
    return {name: thinned(curve, most=_MOST_CURVE_POINTS) for name, curve in found.items()}


def draw_loss_curve(attempt: SpooledAttempt, spec: JobSpec, path: Path) -> None:
    """Training and validation loss over steps, the best validation loss marked.

    Args:
        attempt: holds the points.
        spec: filled.
        path: of the picture.
    """
    curves = _curves(attempt)
    train, validation, test = (curves[f"{part}/loss"] for part in ("train", "val", "test"))
    values = [value for curve in curves.values() for _, value in curve]
    if not values:
        return
    figure, axes = _figure(5)
    if train:
        axes.plot(*zip(*train, strict=True), color=_TRAIN, lw=1.2, label="training batch")
    if validation:
        axes.plot(*zip(*validation, strict=True), color=_VALIDATION, lw=1.8, label="validation")
        step, best = min(validation, key=lambda point: point[1])
        text = f"best validation {best:.4g}, step {step:,}"
        axes.plot([step], [best], "o", color=_VALIDATION, ms=6, label=text)
    if test:
        step, final = test[-1]
        axes.plot([step], [final], "D", color=_TEST, ms=6, label=f"test {final:.4g}")
    axes.set_title(f"Loss: {_title(spec)}")
    axes.set_xlabel("optimizer step")
    axes.set_ylabel(_loss_axis(spec))
    if min(values) > 0 and max(values) > _LOG_FROM * min(values):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(color="0.9")
    axes.legend(frameon=False)
    _save(figure, path)


def draw_divergence(seen: Divergence, spec: JobSpec, path: Path) -> None:
    """The losses and gradient norms before a step that was refused.

    Args:
        seen: what the guard saw; with a loss at the least.
        spec: filled.
        path: of the picture.
    """
    figure, axes = _figure(5)
    curves = ((seen.losses, _VALIDATION, "loss"), (seen.gradient_norms, _TEST, "gradient norm"))
    for values, colour, name in curves:
        steps = range(seen.step - len(values), seen.step)
        axes.plot(steps, values, "o-", color=colour, ms=4, lw=1.5, label=name)
    axes.axvline(seen.step, color="0.3", ls="--", lw=1.2, label=f"{seen.what} {seen.value}")
    if min([*seen.losses, *seen.gradient_norms]) > 0:
        axes.set_yscale("log")
    axes.set_title(f"Before step {seen.step}: {_title(spec)}")
    axes.set_xlabel("optimizer step (those that were done)")
    axes.set_ylabel("loss and gradient norm")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(color="0.9")
    axes.legend(frameon=False)
    _save(figure, path)


def _loss_axis(spec: JobSpec) -> str:
    if kind(spec.task)[0] == "regression":
        units = "standardised targets" if spec.preprocessing.standardise_targets else "raw targets"
        return f"{kind(spec.loss)[0]} ({units})"
    return f"{kind(spec.loss)[0]}"


def draw_residuals(
    y_true: NDArray[Any], y_pred: NDArray[Any], *, names: Sequence[str], title: str, path: Path
) -> None:
    """Error of each test sample against its prediction, in the target's units.

    Args:
        y_true: (N,) or (N, K).
        y_pred: as y_true.
        names: of the K targets; may be empty.
        title: what was trained.
        path: of the picture.
    """
    true, pred = y_true.reshape(len(y_true), -1), y_pred.reshape(len(y_pred), -1)
    error = pred - true
    shown = np.linspace(0, len(true) - 1, min(len(true), _MOST_DOTS)).astype(int)
    figure, axes = _figure(5)
    num_targets = true.shape[1]
    for column in range(num_targets):
        name = names[column] if column < len(names) else f"target {column + 1}"
        axes.scatter(
            pred[shown, column],
            error[shown, column],
            s=18,
            alpha=0.6,
            lw=0,
            color=_TARGETS[column % len(_TARGETS)],
            label=_short(name) if num_targets > 1 and column < len(_TARGETS) else None,
        )
    axes.axhline(0, color="0.3", lw=1)
    bias = float(error.mean())
    axes.axhline(bias, color=_VALIDATION, lw=1.2, ls="--", label=f"mean error {bias:+.3g}")
    mae = float(np.abs(error).mean())
    axes.set_title(f"Residuals: {title}\ntest data, {len(true):,} samples, MAE {mae:.4g}")
    what = _short(names[0]) if num_targets == 1 and names else "target"
    axes.set_xlabel(f"predicted {what}, in its own units")
    axes.set_ylabel("predicted − true, in the same units")
    axes.grid(color="0.92")
    axes.legend(frameon=False)
    _save(figure, path)


def draw_confusion(
    y_true: NDArray[Any], y_pred: NDArray[Any], *, names: Sequence[str], title: str, path: Path
) -> None:
    """How often each class was taken for which, coloured by the true class's share.

    Args:
        y_true: class indices (N,).
        y_pred: class indices (N,).
        names: of the classes; may be empty.
        title: what was trained.
        path: of the picture.
    """
    num_classes = max(len(names), int(max(y_true.max(), y_pred.max())) + 1)
    counts = np.zeros((num_classes, num_classes), dtype=int)
    np.add.at(counts, (y_true.astype(int), y_pred.astype(int)), 1)
    accuracy = float((y_true == y_pred).mean())
    figure, axes = _figure(5 if num_classes <= 4 else 7)
    _heat_map(figure, axes, counts)
    labels = _class_labels(names, num_classes)
    _ticks(axes, labels, labels)
    axes.set_title(
        f"Confusion: {title}\ntest data, {len(y_true):,} samples, accuracy {accuracy:.3f}"
    )
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    _save(figure, path)


def draw_label_table(
    y_true: NDArray[Any], y_pred: NDArray[Any], *, names: Sequence[str], title: str, path: Path
) -> None:
    """Each label's four outcomes, coloured by their share of those that (do not) carry it.

    Args:
        y_true: 0 and 1 (N, L).
        y_pred: 0 and 1 (N, L).
        names: of the labels; may be empty.
        title: what was trained.
        path: of the picture.
    """
    true, pred = y_true.astype(bool), y_pred.astype(bool)
    given, missed = (true & pred).sum(0), (true & ~pred).sum(0)
    wrong, spared = (~true & pred).sum(0), (~true & ~pred).sum(0)
    counts = np.stack([given, missed, wrong, spared], axis=1)
    groups = np.stack([given + missed] * 2 + [wrong + spared] * 2, axis=1)
    figure, axes = _figure(min(12, 3 + 0.4 * len(counts)))
    _heat_map(figure, axes, counts, totals=groups)
    columns = ["carried,\npredicted", "carried,\nmissed", "not carried,\npredicted",
               "not carried,\nnot predicted"]  # fmt: skip
    _ticks(axes, _class_labels(names, len(counts)), columns)
    axes.set_title(f"Labels: {title}\ntest data, {len(true):,} samples")
    axes.set_xlabel("outcome")
    axes.set_ylabel("label")
    _save(figure, path)


def _heat_map(
    figure: Figure, axes: Axes, counts: NDArray[Any], *, totals: NDArray[Any] | None = None
) -> None:
    rows = counts.sum(axis=1, keepdims=True) if totals is None else totals
    share = counts / np.maximum(rows, 1)
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    bar = figure.colorbar(image, ax=axes, fraction=0.045, pad=0.02)
    bar.set_label("share of the true class" if totals is None else "share of those samples")
    bar.outline.set_visible(False)
    axes.spines[:].set_visible(False)
    if max(counts.shape) > _MOST_NUMBERED_CLASSES:
        return
    for (row, column), count in np.ndenumerate(counts):
        if count:
            colour = "white" if share[row, column] > 0.6 else "0.15"
            size = 14 if max(counts.shape) <= 5 else 10
            axes.text(
                column, row, f"{count:,}", ha="center", va="center", color=colour, fontsize=size
            )


def _class_labels(names: Sequence[str], count: int) -> list[str]:
    return [_short(names[i]) if i < len(names) else str(i) for i in range(count)]


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"


def _ticks(axes: Axes, rows: Sequence[str], columns: Sequence[str]) -> None:
    for axis, labels in ((axes.yaxis, rows), (axes.xaxis, columns)):
        every = max(1, -(-len(labels) // _MOST_NAMED_CLASSES))
        axis.set_ticks(range(0, len(labels), every), list(labels[::every]))
    longest = max(len(line) for text in columns for line in text.split("\n"))
    if longest * len(columns) > 90:
        axes.tick_params(axis="x", rotation=90)
    axes.tick_params(length=0)
