"""Rules of tasks over images: which masks or images a loss takes, and data made of images."""

from collections.abc import Iterator

from google.protobuf.message import Message

from talweg.spec.errors import Violation, number_text, one_of
from talweg.spec.fields import fields
from talweg.spec.rules.loss import facts_of, losses_of
from talweg.spec.semantics.context import Leaf, SpecContext
from talweg.spec.semantics.facts import chosen, leaves
from talweg.spec.semantics.heads import heads
from talweg.spec.semantics.outputs import kinds_of
from talweg.v1 import options_pb2
from talweg.v1.losses_pb2 import Loss, MaskMode, Ssim
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
            yield from _ignores(case, leaf.path, leaf.name, leaf.message)
    for head in heads(case.spec):
        if isinstance(head.message, Segmentation) and head.loss is not None:
            for path, name, message in leaves(head.loss, head.path):
                yield from _ignores(case, path, name, message)
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


def _ignores(case: SpecContext, path: str, name: str, loss: Message) -> Iterator[Violation]:
    """Check that a loss leaves out the pixels that have no class in stored masks."""
    if chosen(case.spec.dataset) != "stored":
        return
    facts = case.spec.dataset.stored.facts
    if not facts.HasField("ignore_index"):
        return
    wanted = facts.ignore_index
    found = f"masks in which pixels of the value {wanted} have no class"
    if "ignore_index" not in fields(loss.DESCRIPTOR):
        known = (one for one in losses_of(options_pb2.SEGMENTATION) if _has_ignored(one))
        yield Violation(
            path,
            f"{name} on {found}",
            f"a loss with ignore_index: {one_of(known)}",
            "or give these pixels a class in the masks",
        )
    elif loss.ignore_index != wanted:  # type: ignore[attr-defined]
        value = loss.ignore_index  # type: ignore[attr-defined]
        yield Violation(
            f"{path}.{name}.ignore_index", f"{value} on {found}", str(wanted), "leave it out"
        )


def _has_ignored(loss: str) -> bool:
    return "ignore_index" in fields(fields(Loss.DESCRIPTOR)[loss].descriptor.message_type)


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
