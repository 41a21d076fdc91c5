"""Rules of detection: the two parts of its loss, and the grid of its model."""

from collections.abc import Iterator

from google.protobuf.message import Message

from talweg.spec.errors import Violation
from talweg.spec.rules.loss import class_weights, reduction_name
from talweg.spec.semantics.context import Leaf, SpecContext
from talweg.spec.semantics.facts import chosen
from talweg.v1 import options_pb2
from talweg.v1.losses_pb2 import CrossEntropy, Detection, Focal

_PARTS = ("class_loss", "box_loss")


def detection_rules(case: SpecContext) -> Iterator[Violation]:
    """Check the losses of classes and boxes, and that the grid divides the images."""
    if case.task != options_pb2.DETECTION:
        return
    for leaf in case.fitting:
        if isinstance(leaf.message, Detection):
            yield from _weights(leaf, leaf.message)
            for name in _PARTS:
                part = getattr(leaf.message, name)
                if chosen(part):
                    message: Message = getattr(part, chosen(part))
                    yield from _part(case, f"{leaf.member}.{name}.{chosen(part)}", message)
    yield from _stride(case)


def _weights(leaf: Leaf, loss: Detection) -> Iterator[Violation]:
    if not (loss.class_weight or loss.box_weight):
        yield Violation(leaf.member, "class_weight and box_weight of 0", "at least one weight > 0")


def _part(case: SpecContext, at: str, message: Message) -> Iterator[Violation]:
    reduction = reduction_name(message)
    if reduction != "mean":
        yield Violation(
            f"{at}.reduction",
            reduction,
            "mean",
            "jobs divide both losses by the number of locations with an object: leave it out",
        )
    for name, values in class_weights(message):
        if not any(value > 0 for value in values):
            yield Violation(f"{at}.{name}", "no weight above 0", "at least one weight > 0")
        expected = case.data.num_classes if case.data is not None else len(values)
        if len(values) != expected:
            yield Violation(
                f"{at}.{name}",
                f"{len(values)} weights",
                f"{expected}, one per class, starting with the background",
            )
    if isinstance(message, (CrossEntropy, Focal)) and message.ignore_index == 0:
        yield Violation(
            f"{at}.ignore_index", "0", "any other value, since 0 is the background",
            "leave it out",
        )  # fmt: skip


def _stride(case: SpecContext) -> Iterator[Violation]:
    stride = case.spec.model.detector.stride
    if chosen(case.spec.model) != "detector" or case.data is None or not case.sound("model"):
        return
    sides = case.data.shape[1:]
    if len(sides) == 2 and any(side % stride for side in sides):
        yield Violation(
            "model.detector.stride",
            str(stride),
            f"a divisor of the images' sides, {sides[0]} and {sides[1]}",
        )
