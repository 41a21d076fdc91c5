"""Rules of multitask jobs: a loss for each head, that fits it, and a trunk that can carry them."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

from talweg.spec.errors import Violation, one_of, shown
from talweg.spec.fields import choices
from talweg.spec.rules.data.images import image_rules
from talweg.spec.rules.loss import has_special_outputs, loss_rules
from talweg.spec.rules.tasks.detection import detection_rules
from talweg.spec.semantics.context import SpecContext
from talweg.spec.semantics.heads import Head, head_losses, heads, spec_of_head
from talweg.v1 import options_pb2
from talweg.v1.tasks_pb2 import Column, Depth, ObjectDetection, Segmentation

_PARTS = {"sum": "terms", "uncertainty": "losses", "gradnorm": "losses"}
# What a data set must be for, so that it has what a head learns.
_NEEDS = {
    Segmentation: options_pb2.SEGMENTATION,
    Depth: options_pb2.SEGMENTATION,
    Column: options_pb2.REGRESSION,
    ObjectDetection: options_pb2.DETECTION,
}


def multitask_rules(case: SpecContext) -> Iterator[Violation]:
    """Check heads, losses and trunk of a multitask job."""
    if case.task != options_pb2.MULTITASK:
        return
    all_heads = heads(case.spec)
    yield from _names(case, all_heads)
    yield from _counts(case)
    yield from _trunk(case, all_heads)
    for place, head in enumerate(all_heads):
        yield from _data(case, head, f"task.multitask.heads[{place}]")
        if head.loss is not None:
            yield from _loss(case, head)


def _names(case: SpecContext, all_heads: tuple[Head, ...]) -> Iterator[Violation]:
    for place, head in enumerate(case.spec.task.multitask.heads):
        if head.WhichOneof("kind") is None:
            kinds = one_of(choices(head.DESCRIPTOR))
            yield Violation(f"task.multitask.heads[{place}]", "nothing", kinds)
    for name, count in Counter(head.name for head in all_heads).items():
        if count > 1:
            yield Violation(
                "task.multitask.heads",
                f"{count} heads named {name}",
                "each name once",
                "name the heads",
            )


def _counts(case: SpecContext) -> Iterator[Violation]:
    kind = case.spec.loss.WhichOneof("kind") or ""
    if kind not in _PARTS:
        return
    number, expected = len(list(head_losses(case.spec.loss))), len(case.spec.task.multitask.heads)
    if number != expected:
        yield Violation(
            f"loss.{kind}.{_PARTS[kind]}",
            f"{number} losses",
            f"{expected}, one per head, in order",
        )
    if kind != "uncertainty":
        return
    for name in ("task_types", "initial_log_vars"):
        number = len(getattr(case.spec.loss.uncertainty, name))
        if number and number != expected:
            yield Violation(f"loss.uncertainty.{name}", str(number), f"{expected}, one per head")


def _trunk(case: SpecContext, all_heads: tuple[Head, ...]) -> Iterator[Violation]:
    if case.spec.model.WhichOneof("kind") != "multi_head":
        return
    trunk = case.spec.model.multi_head.trunk.WhichOneof("kind")
    images = case.data is not None and len(case.data.shape) == 3
    if trunk == "mlp":
        of_images = [head.name for head in all_heads if head.of_pixels or head.of_boxes]
        if of_images:
            name = of_images[0]
            yield Violation("model.multi_head.trunk", f"mlp under the head {name}", "unet")
        if not case.spec.model.multi_head.trunk.mlp.hidden:
            yield Violation("model.multi_head.trunk.mlp.hidden", "nothing", "at least one layer")
    if trunk == "unet" and case.data is not None and not images:
        yield Violation(
            "model.multi_head.trunk", f"unet on {case.data.name}, whose inputs are vectors", "mlp"
        )


def _data(case: SpecContext, head: Head, path: str) -> Iterator[Violation]:
    if case.data is None:
        return
    need = _NEEDS[type(head.message)]
    if case.task in case.data.facts.tasks and need not in case.data.facts.tasks:
        yield Violation(path, f"{head.kind} on {case.data.name}", "heads that the data supports")
    elif isinstance(head.message, Column) and head.message.column >= case.data.num_targets:
        column, most = head.message.column, case.data.num_targets - 1
        yield Violation(f"{path}.number.column", shown(column), f"at most {most}")


def _loss(case: SpecContext, head: Head) -> Iterator[Violation]:
    single = SpecContext(spec_of_head(case.spec, head))
    rules: tuple[Callable[[SpecContext], Iterator[Violation]], ...] = (
        loss_rules,
        image_rules,
        detection_rules,
    )
    for rule in rules:
        for violation in rule(single):
            if violation.field.startswith("loss"):
                field = head.path + violation.field.removeprefix("loss")
                yield replace(violation, field=field)
    for leaf in single.fitting:
        if has_special_outputs(leaf) or leaf.facts.raw_targets:
            yield Violation(
                head.path + leaf.path.removeprefix("loss"),
                f"{leaf.name} for the head {head.name}",
                "a loss with one output per target",
            )
