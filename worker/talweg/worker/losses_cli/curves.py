"""Losses as curves: value and gradient over the one number that their inputs come down to."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from google.protobuf.message import Message
from torch import Tensor

from talweg import spec
from talweg.v1 import losses_pb2 as pb
from talweg.v1 import options_pb2
from talweg.v1.options_pb2 import OutputFacts
from talweg.worker import losses
from talweg.worker.losses import LossModule, OwnLoss
from talweg.worker.losses_cli.shorthand import Asked

NUM_POINTS = 601
"""Points of a curve; odd, so that the middle of the range is one."""


@dataclass(frozen=True)
class Axis:
    """What a loss can be drawn over."""

    name: str
    """Its name on the command line."""
    meaning: str
    """What it is, in words."""
    gradient: str
    """By what the gradient is taken, in words."""
    low: float
    """Where it begins unless told otherwise."""
    high: float
    """Where it ends unless told otherwise."""


ERROR = Axis("error", "prediction − target", "gradient by the prediction", -3.0, 3.0)
LOGIT = Axis("logit", "logit", "gradient by the logit", -6.0, 6.0)
PROBABILITY = Axis(
    "probability",
    "probability of the right class",
    "gradient by the right class's logit",
    0.0,
    1.0,
)
AXES = {axis.name: axis for axis in (ERROR, LOGIT, PROBABILITY)}
"""The axes by name, the first choice first."""

_AXIS_OF_TASK = {
    options_pb2.REGRESSION: ERROR,
    options_pb2.BINARY: LOGIT,
    options_pb2.MULTILABEL: LOGIT,
    options_pb2.MULTICLASS: PROBABILITY,
}
# Inputs beside pred and target, and the value at which they are held.
_HELD = {"var": 1.0, "nu": 1.0, "alpha": 2.0, "beta": 1.0}
_NUM_CLASSES = 10
# A probability of 0 or 1 stands for an infinite logit.
_NEAREST_TO_CERTAIN = 0.001


@dataclass(frozen=True)
class Curve:
    """One loss over an axis. Values are NaN where the loss is not defined."""

    label: str
    """What to call it."""
    x: list[float]
    """Where."""
    value: list[float]
    """The loss of one sample."""
    gradient: list[float]
    """Its slope, by what the axis says."""


@dataclass(frozen=True)
class Setting:
    """What is common to the curves of one picture."""

    axis: Axis
    """What they are drawn over."""
    low: float
    """Where the axis begins."""
    high: float
    """Where it ends."""
    target: float
    """The target, but for probabilities, where it is the right class."""
    num_classes: int
    """Classes, where the axis is a probability."""

    @property
    def words(self) -> str:
        """The axis, and what is held fixed."""
        if self.axis is PROBABILITY:
            return f"{self.axis.meaning} ({self.num_classes} classes, the wrong ones alike)"
        if self.axis is ERROR and not self.target:
            return self.axis.meaning
        return f"{self.axis.meaning} (target {self.target:g})"


def choose(
    asked: Sequence[Asked],
    *,
    axis: Axis | None = None,
    bounds: tuple[float, float] | None = None,
    target: float | None = None,
) -> Setting:
    """Choose what losses are drawn over.

    Args:
        asked: The losses.
        axis: The axis; by the losses where None.
        bounds: Where it begins and ends; the axis's own where None.
        target: The target. Where None, 1 for logits and for losses of raw targets such as
            counts, else 0.

    Raises:
        ValueError: The losses have no such axis, or none in common; the bounds are none.
    """
    each = {one.label: _axes(one.loss) for one in asked}
    for label, axes in each.items():
        if not axes:
            raise ValueError(
                f"{label} has no curve: it does not come down to a prediction error, a logit or "
                "the probability of one class"
            )
        if axis is not None and axis not in axes:
            raise ValueError(f"axis of {label} must be {_names(axes)}, but got {axis.name}")
    common = [one for one in AXES.values() if all(one in axes for axes in each.values())]
    if not common:
        listed = "; ".join(f"{label} over {_names(axes)}" for label, axes in each.items())
        raise ValueError(f"losses of one picture must share an axis, but got {listed}")
    chosen = axis or common[0]
    low, high = bounds or (chosen.low, chosen.high)
    limits = (0.0, 1.0) if chosen is PROBABILITY else (-1e6, 1e6)
    if not limits[0] <= low < high <= limits[1]:
        raise ValueError(
            f"range must be two numbers from {limits[0]:g} to {limits[1]:g}, the lower first, "
            f"but got {low:g} {high:g}"
        )
    raw = any(_facts(leaf).raw_targets for one in asked for leaf in _leaves(one.loss))
    if target is None:
        target = 1.0 if chosen is LOGIT or raw else 0.0
    elif chosen is PROBABILITY:
        raise ValueError("target must be left out over a probability: it is the right class")
    elif not abs(target) <= 1e6:
        raise ValueError(f"target must be from -1e+06 to 1e+06, but got {target:g}")
    num_classes = _num_classes(asked) if chosen is PROBABILITY else 0
    return Setting(chosen, low, high, target, num_classes)


def draw(asked: Asked, setting: Setting) -> Curve:
    """Compute a loss's curve.

    Raises:
        ValueError: The loss refuses its inputs, as for a target that it does not allow, or takes
            more than a prediction and a target.
    """
    try:
        module = losses.build(asked.loss)
    except ValueError as exc:
        raise ValueError(f"{asked.label} has no curve: {exc}") from exc
    unknown = [name for name in module.input_names if name not in ("pred", "target", *_HELD)]
    if unknown:
        raise ValueError(f"{asked.label} has no curve: it takes {', '.join(unknown)} too")
    low, high = setting.low, setting.high
    if setting.axis is PROBABILITY:
        low, high = max(low, _NEAREST_TO_CERTAIN), min(high, 1 - _NEAREST_TO_CERTAIN)
    # Not linspace, which misses 0 in the middle by a digit, and with it the value at a kink.
    x = low + (high - low) * (torch.arange(NUM_POINTS, dtype=torch.float64) / (NUM_POINTS - 1))
    points = x.clone()
    if setting.axis is PROBABILITY:
        points = torch.logit(x) + math.log(setting.num_classes - 1)
    try:
        values, slopes = _curve(module, _Place(asked.loss, setting), points)
    except ValueError as exc:
        raise ValueError(f"{asked.label}: {exc}") from exc
    return Curve(asked.label, x.tolist(), values.tolist(), slopes.tolist())


class _Place:
    """Makes a loss's inputs of points on the axis."""

    def __init__(self, loss: pb.Loss, setting: Setting) -> None:
        self._setting = setting
        messages = list(_leaves(loss))
        facts = [_facts(message) for message in messages]
        self._raw = any(one.raw_targets for one in facts)
        self._sigmoid = any(one.activation == options_pb2.SIGMOID for one in facts)
        output = spec.output_of(loss)
        takes_mean = any(one.activation == options_pb2.EXP for one in facts)
        self._gives_log = output.kind == OutputFacts.LOG_MEAN and not takes_mean
        # Outputs for one target, each of which stands at the same point.
        self._width = 0
        if output.kind == OutputFacts.QUANTILES:
            self._width = output.per_target
        elif setting.axis is LOGIT:
            self._width = max(map(_num_weights, messages))

    def defined(self, z: Tensor) -> Tensor:
        """Tell at which points the loss has a meaning: counts and rates are positive."""
        positive = self._setting.axis is ERROR and self._raw
        return z + self._setting.target > 0 if positive else torch.ones_like(z, dtype=torch.bool)

    def inputs(self, z: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        """Give the inputs of samples at the points z (N,)."""
        setting = self._setting
        if setting.axis is PROBABILITY:
            others = z.new_zeros(len(z), setting.num_classes - 1)
            target = torch.zeros(len(z), dtype=torch.int64)
            return {"pred": torch.cat([z[:, None], others], dim=1), "target": target}
        pred, target = z, torch.full_like(z, setting.target)
        if setting.axis is ERROR:
            pred = pred + setting.target
            pred = pred.log() if self._gives_log else pred
        elif self._sigmoid:
            pred = torch.sigmoid(pred)
        if self._width:
            pred = pred[:, None].expand(-1, self._width)
            if setting.axis is LOGIT:
                target = target[:, None].expand(-1, self._width)
        constants = {name: torch.full_like(z, at) for name, at in _HELD.items() if name in names}
        return {"pred": pred, "target": target, **constants}


def _curve(module: LossModule, place: _Place, points: Tensor) -> tuple[Tensor, Tensor]:
    """Give values and slopes at points (N,), NaN where the loss has no meaning."""
    values, slopes = torch.full_like(points, math.nan), torch.full_like(points, math.nan)
    defined = place.defined(points)
    z = points[defined].requires_grad_()
    inputs = place.inputs(z, module.input_names)
    module.check_inputs(inputs)
    module.check_values(inputs)
    each = _each(module, inputs)
    if each is None:
        singles = [place.inputs(point[None], module.input_names) for point in z]
        each = torch.stack([module(single).mean() for single in singles])
    values[defined] = each.detach()
    slopes[defined] = 0.0
    if each.requires_grad:
        (slopes[defined],) = torch.autograd.grad(each.sum(), z)
    return values, slopes


def _each(module: LossModule, inputs: dict[str, Tensor]) -> Tensor | None:
    """Give every sample's value; None where a sample's value cannot be told from the batch's."""
    if any(isinstance(part, OwnLoss) for part in module.modules()):
        return None
    try:
        values = module.values(inputs)
    except ValueError:
        # The terms of a sum may have shapes of their own.
        return None
    return values.reshape(len(values), -1).mean(1)


def _leaves(loss: pb.Loss) -> Iterator[Message]:
    return (message for *_, message in spec.leaves(loss))


def _facts(message: Message) -> options_pb2.LossFacts:
    return spec.loss_facts(message.DESCRIPTOR)


def _axes(loss: pb.Loss) -> list[Axis]:
    """Give the axes that all parts of a loss have."""
    each = [
        {_AXIS_OF_TASK[task].name for task in _facts(message).tasks if task in _AXIS_OF_TASK}
        for message in _leaves(loss)
    ]
    return [axis for axis in AXES.values() if all(axis.name in names for names in each)]


def _names(axes: Sequence[Axis]) -> str:
    return " or ".join(axis.name for axis in axes)


def _num_weights(message: Message) -> int:
    """Give the number of classes or labels for which a loss carries weights."""
    counts = [0]
    for field, value in message.ListFields():
        if isinstance(value, pb.ClassWeights):
            counts.append(len(value.values))
        elif field.name in ("alpha", "class_counts") and field.is_repeated:
            counts.append(len(value))
    return max(counts)


def _num_classes(asked: Sequence[Asked]) -> int:
    counts = {_num_weights(message) for one in asked for message in _leaves(one.loss)} - {0}
    if len(counts) > 1:
        listed = " and ".join(map(str, sorted(counts)))
        raise ValueError(
            f"losses of one picture must have weights for as many classes, got {listed}"
        )
    return max(counts.pop(), 2) if counts else _NUM_CLASSES
