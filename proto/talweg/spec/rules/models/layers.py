"""Follows the shape of one sample through the layers of a `sequential`, without torch."""

import math
from collections.abc import Iterator

from talweg.spec.errors import Violation
from talweg.spec.semantics.facts import chosen
from talweg.v1.models_pb2 import Layer, Sequential

_PARAMETRIC = ("linear", "conv2d", "batch_norm", "layer_norm", "group_norm")
_IMAGES_ONLY = ("conv2d", "max_pool2d", "avg_pool2d", "adaptive_avg_pool2d")

Shape = tuple[int, ...]


class _Unknown(Exception):
    """The shape after a layer does not follow."""


def layer_rules(
    model: Sequential,
    input_shape: Shape | None,
    num_outputs: int | None,
    *,
    lone_batch: str = "",
    path: str = "model.sequential.layers",
) -> Iterator[Violation]:
    """Check layers against the shapes that reach them.

    Args:
        model: Filled layers, within their bounds.
        input_shape: Of one sample; None where not known.
        num_outputs: What task and loss need; None where not known.
        lone_batch: Why some batch would hold one sample only; empty where none does.
        path: Where the layers stand.
    """
    output = _output_layer(model)
    yield from _order(model, output, path)
    walk = _Walk(num_outputs, lone_batch)
    shape = input_shape
    for index, layer in enumerate(model.layers):
        name = chosen(layer)
        if shape is None or not name:
            return
        try:
            shape = walk.after(layer, name, shape, f"{path}[{index}]")
        except _Unknown:
            shape = None
        yield from walk.taken()
    if shape is not None and num_outputs is not None:
        yield from _end(model, shape, num_outputs, path)


def _output_layer(model: Sequential) -> int | None:
    """Give the first linear layer that leaves its outputs to task and loss."""
    for index, layer in enumerate(model.layers):
        if chosen(layer) == "linear" and not layer.linear.HasField("out_features"):
            return index
    return None


def _order(model: Sequential, output: int | None, path: str) -> Iterator[Violation]:
    if output is None:
        return
    for index in range(output + 1, len(model.layers)):
        name = chosen(model.layers[index])
        if name in _PARAMETRIC:
            yield Violation(
                f"{path}[{output}].linear.out_features",
                f"nothing, with a {name} layer after it",
                "an integer; only the last layer with weights may leave it out",
            )
            return


def _end(model: Sequential, shape: Shape, num_outputs: int, path: str) -> Iterator[Violation]:
    if shape == (num_outputs,):
        return
    last = len(model.layers) - 1
    allowed = f"{num_outputs}, for this task, loss and data"
    if len(shape) == 3:
        hint = "end with flatten and linear: {}"
        yield Violation(f"{path}[{last}]", f"images {_text(shape)} at the end", allowed, hint)
        return
    for index in range(last, -1, -1):
        layer = model.layers[index]
        if chosen(layer) == "linear":
            yield Violation(
                f"{path}[{index}].linear.out_features",
                str(layer.linear.out_features),
                allowed,
                "leave it out",
            )
            return
    yield Violation(
        f"{path}[{last}]", f"{shape[0]} outputs at the end", allowed, "end with linear: {}"
    )


class _Walk:
    """Says what shape each layer makes of what reaches it."""

    def __init__(self, num_outputs: int | None, lone_batch: str) -> None:
        self._num_outputs = num_outputs
        self._lone_batch = lone_batch
        self._violations: list[Violation] = []

    def taken(self) -> list[Violation]:
        """Give the violations found since the last call."""
        violations, self._violations = self._violations, []
        return violations

    def after(self, layer: Layer, name: str, shape: Shape, path: str) -> Shape:
        """Give the shape after a layer; _Unknown where it does not follow."""
        if name in _IMAGES_ONLY and len(shape) != 3:
            self._refuse(
                path,
                f"{name} on vectors of {_text(shape)}",
                "images (channels, height, width)",
                "use a data set of images, with no flatten before this layer",
            )
            raise _Unknown
        if name == "linear":
            return self._linear(layer, shape, path)
        if name == "conv2d":
            conv = layer.conv2d
            sides = self._sides(
                f"{path}.conv2d", shape, conv.kernel_size, conv.stride, conv.padding
            )
            return (conv.out_channels, *sides)
        if name in ("max_pool2d", "avg_pool2d"):
            pool = getattr(layer, name)
            stride = pool.stride if pool.HasField("stride") else pool.kernel_size
            return (shape[0], *self._sides(f"{path}.{name}", shape, pool.kernel_size, stride, 0))
        if name == "adaptive_avg_pool2d":
            size = layer.adaptive_avg_pool2d.output_size
            return (shape[0], size, size)
        if name == "flatten":
            return (math.prod(shape),)
        if name == "group_norm":
            self._groups(layer.group_norm.num_groups, shape, f"{path}.group_norm.num_groups")
        if name == "batch_norm" and self._lone_batch and math.prod(shape[1:]) == 1:
            self._refuse(f"{path}.batch_norm", self._lone_batch, LONE_ALLOWED, LONE_HINT)
        return shape

    def _linear(self, layer: Layer, shape: Shape, path: str) -> Shape:
        if len(shape) != 1:
            self._refuse(
                f"{path}.linear",
                f"images of {_text(shape)}",
                "vectors",
                "add a flatten layer before it",
            )
        if layer.linear.HasField("out_features"):
            return (layer.linear.out_features,)
        if self._num_outputs is None:
            raise _Unknown
        return (self._num_outputs,)

    def _sides(
        self, path: str, shape: Shape, kernel: int, stride: int, padding: int
    ) -> tuple[int, ...]:
        least = min(shape[1:]) + 2 * padding
        if kernel > least:
            padded = f" and padding {padding}" if padding else ""
            self._refuse(
                f"{path}.kernel_size",
                f"{kernel} on images of {_text(shape)}{padded}",
                f"at most {least}",
                "use fewer pooling layers before it",
            )
            raise _Unknown
        return tuple((side + 2 * padding - kernel) // stride + 1 for side in shape[1:])

    def _groups(self, groups: int, shape: Shape, path: str) -> None:
        if shape[0] % groups:
            divisors = [str(n) for n in range(1, min(shape[0], 64) + 1) if shape[0] % n == 0]
            self._refuse(
                path,
                str(groups),
                f"a divisor of the {shape[0]} channels",
                f"such as {', '.join(divisors)}",
            )

    def _refuse(self, path: str, found: str, allowed: str, hint: str = "") -> None:
        self._violations.append(Violation(path, found, allowed, hint))


LONE_ALLOWED = "batches of at least 2 samples, since batch normalisation needs several"
LONE_HINT = "choose another training.batch_size"


def _text(shape: Shape) -> str:
    return "×".join(map(str, shape))
