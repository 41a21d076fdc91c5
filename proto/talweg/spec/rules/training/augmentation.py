"""Rules about augmentation: which tasks, data and losses take which."""

from collections.abc import Iterator

from talweg.spec.errors import Violation, one_of
from talweg.spec.fields import fields
from talweg.spec.rules.loss import facts_of, losses_of
from talweg.spec.semantics.context import SpecContext
from talweg.spec.semantics.dataset_facts import facts_of_chosen, is_looked_up
from talweg.spec.semantics.facts import task_name
from talweg.spec.semantics.pairs_triplets import examples_of
from talweg.v1 import options_pb2
from talweg.v1.augmentation_pb2 import Augmentation
from talweg.v1.tasks_pb2 import MetricLearning

_PATH = "training.augmentation"
_MIXED = (options_pb2.BINARY, options_pb2.MULTICLASS, options_pb2.MULTILABEL)
_MIXING = ("mixup", "cutmix")
_IMAGE = 3


def augmentation_rules(case: SpecContext) -> Iterator[Violation]:
    """Check that there are images, and that masks, boxes and losses can follow them."""
    training = case.spec.training
    if not training.HasField("augmentation") or not case.sound(_PATH):
        return
    asked = training.augmentation
    names = [field.name for field, _ in asked.ListFields()]
    if not names:
        kinds = one_of(fields(Augmentation.DESCRIPTOR))
        hint = "write for instance augmentation: {flip: {}}, or leave it out"
        yield Violation(_PATH, "nothing", f"at least one of {kinds}", hint)
    yield from _fits_task(case)
    yield from _fits_data(case)
    if "rotate" in names and case.task == options_pb2.IMAGE_TRANSLATION:
        yield Violation(
            f"{_PATH}.rotate",
            "rotate under task image_translation",
            "flip and crop",
            "a rotated image has corners without a target: leave it out",
        )
    for name in _MIXING:
        if name in names:
            yield from _takes_soft_targets(case, name)
    flip = asked.flip
    if "flip" in names and not flip.horizontal and not flip.vertical:
        found = "neither horizontal nor vertical"
        yield Violation(f"{_PATH}.flip", found, "at least one of them", "leave flip out")


def _fits_task(case: SpecContext) -> Iterator[Violation]:
    if case.task == options_pb2.MULTITASK:
        yield Violation(_PATH, "augmentation under task multitask", "none", "leave it out")
    elif case.task == options_pb2.METRIC_LEARNING:
        if examples_of(case.spec) != MetricLearning.labels:
            found = "augmentation of pairs or triplets"
            yield Violation(_PATH, found, "augmentation where labels tell what belongs together")


def _fits_data(case: SpecContext) -> Iterator[Violation]:
    if case.data is None or not case.data.shape:
        return
    shape = tuple(case.data.shape)
    if len(shape) != _IMAGE:
        yield Violation(
            _PATH,
            f"augmentation of {case.data.name}, whose samples have the shape {shape}",
            "augmentation of images (channels, height, width)",
            "leave it out",
        )
        return
    facts = facts_of_chosen(case.spec.dataset)
    if facts is None or not is_looked_up(case.spec.dataset) or facts.in_unit_range:
        return
    if case.spec.training.augmentation.HasField("color"):
        yield Violation(
            f"{_PATH}.color",
            f"color on {case.data.name}, whose values are not all in [0, 1]",
            "color on images of bytes, or with values from 0 to 1",
            "leave it out, or divide the images by their largest value",
        )


def _takes_soft_targets(case: SpecContext, name: str) -> Iterator[Violation]:
    path = f"{_PATH}.{name}"
    if case.task not in _MIXED:
        if case.task != options_pb2.TASK_KIND_UNSPECIFIED:
            yield Violation(
                path,
                f"{name} under task {task_name(case.task)}",
                f"{name} under {one_of(map(task_name, _MIXED))}",
                "it mixes the targets of two images: leave it out",
            )
        return
    for leaf in case.leaves:
        if not leaf.facts.soft_targets:
            taking = [one for one in losses_of(case.task) if facts_of(one).soft_targets]
            yield Violation(
                path,
                f"{name} with the loss {leaf.name}, which takes no soft targets",
                f"{name} with {one_of(taking)}",
                f"change the loss, or leave {name} out",
            )
