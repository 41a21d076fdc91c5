"""Rules of tasks over images: which masks or images a loss takes, and data made of images."""

from collections.abc import Iterator

from talweg.spec.errors import Violation, number_text, one_of
from talweg.spec.fields import fields
from talweg.spec.rules.loss import facts_of, losses_of
from talweg.spec.semantics.context import Leaf, SpecContext
from talweg.spec.semantics.outputs import kinds_of
from talweg.v1 import options_pb2
from talweg.v1.losses_pb2 import MaskMode, Ssim
from talweg.v1.models_pb2 import Resnet
from talweg.v1.options_pb2 import OutputFacts
from talweg.v1.tasks_pb2 import Segmentation

_MODES: dict[int, MaskMode.Kind.ValueType] = {
    Segmentation.classes: MaskMode.multiclass,
    Segmentation.foreground: MaskMode.binary,
}
_LOGITS: dict[int, OutputFacts.Kind.ValueType] = {
    Segmentation.classes: OutputFacts.CLASS_LOGITS,
    Segmentation.foreground: OutputFacts.BINARY_LOGITS,
}


def image_rules(case: SpecContext) -> Iterator[Violation]:
    """Check data of scenes, models of pixels, and losses of pixels against their target."""
    yield from _scenes(case)
    yield from _patches(case)
    yield from _groups(case)
    if case.task == options_pb2.SEGMENTATION:
        for leaf in case.fitting:
            yield from _takes_target(case, leaf)
    if case.task == options_pb2.IMAGE_TRANSLATION:
        yield from _takes_images(case)


def mode_of(target: int) -> MaskMode.Kind.ValueType:
    """Give the mode in which losses of regions take a segmentation's target."""
    return _MODES.get(target, MaskMode.multiclass)


def _takes_images(case: SpecContext) -> Iterator[Violation]:
    if case.leaves and all(leaf.facts.ignores_target for leaf in case.leaves):
        name = case.leaves[0].name
        yield Violation(
            "loss",
            f"{name} alone, which ignores the target",
            f"a sum of {name} and a loss of pred and target, such as mae",
        )
    shape = case.data.shape if case.data is not None else ()
    for leaf in case.fitting:
        if isinstance(leaf.message, Ssim) and len(shape) == 3:
            if leaf.message.window_size > min(shape[1:]):
                yield Violation(
                    f"{leaf.member}.window_size",
                    str(leaf.message.window_size),
                    f"at most the images' shorter side ({min(shape[1:])})",
                )


def _scenes(case: SpecContext) -> Iterator[Violation]:
    if case.data is None or case.data.name != "digit_scenes":
        return
    scenes = case.spec.dataset.digit_scenes
    for low, high in (("min_digits", "max_digits"), ("min_scale", "max_scale")):
        if getattr(scenes, low) > getattr(scenes, high):
            yield Violation(
                f"dataset.digit_scenes.{low}",
                number_text(getattr(scenes, low)),
                f"at most {high} ({number_text(getattr(scenes, high))})",
            )


def _patches(case: SpecContext) -> Iterator[Violation]:
    model = case.spec.model
    if case.data is None or len(case.data.shape) != 3:
        return
    unets = {"model.unet": model.unet, "model.multi_head.trunk.unet": model.multi_head.trunk.unet}
    sides = case.data.shape[1:]
    for path, unet in unets.items():
        if unet.patch and any(side % unet.patch for side in sides):
            yield Violation(
                f"{path}.patch",
                str(unet.patch),
                f"a divisor of the images' sides, {sides[0]} and {sides[1]}",
            )


def _groups(case: SpecContext) -> Iterator[Violation]:
    if not case.sound("model"):
        return
    model = case.spec.model
    resnets = {
        "model.resnet": model.resnet,
        "model.embedder.trunk.resnet": model.embedder.trunk.resnet,
    }
    for path, resnet in resnets.items():
        if resnet.norm == Resnet.group and resnet.width % resnet.groups:
            yield Violation(
                f"{path}.groups",
                str(resnet.groups),
                f"a divisor of width ({resnet.width})",
            )


def _takes_target(case: SpecContext, leaf: Leaf) -> Iterator[Violation]:
    target = case.spec.task.segmentation.target
    name = Segmentation.Target.Name(target)
    logits = _LOGITS.get(target, OutputFacts.CLASS_LOGITS)
    # Those that have a mode take either.
    if logits not in kinds_of(leaf.facts.output):
        right = [
            loss for loss in losses_of(case.task) if logits in kinds_of(facts_of(loss).output)
        ]
        other = next(n for n in Segmentation.Target.keys() if n != name)
        yield Violation(
            leaf.path,
            f"{leaf.name} under task segmentation with target {name}",
            one_of(right),
            f"{leaf.name} takes masks of target: {other}",
        )
    known = fields(leaf.message.DESCRIPTOR)
    if "mode" in known and leaf.message.mode != mode_of(target):  # type: ignore[attr-defined]
        mode = MaskMode.Kind.Name(leaf.message.mode)  # type: ignore[attr-defined]
        yield Violation(
            f"{leaf.member}.mode",
            f"{mode} with target {name}",
            MaskMode.Kind.Name(mode_of(target)),
            "leave it out",
        )
    if "from_logits" in known and not leaf.message.from_logits:  # type: ignore[attr-defined]
        yield Violation(
            f"{leaf.member}.from_logits",
            "false",
            "true, since models output logits",
            "leave it out",
        )
