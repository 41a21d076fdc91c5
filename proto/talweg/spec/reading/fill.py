"""Makes the defaults of a spec explicit, so that it says all that a run depends on."""

from __future__ import annotations

from typing import TypeVar

from google.protobuf.message import Message

from talweg.spec.fields import CHOICE, Field, Type, fields, oneofs
from talweg.spec.rules.images import mode_of
from talweg.spec.semantics.facts import chosen, leaves, loss_facts, task_kind
from talweg.spec.semantics.heads import heads
from talweg.spec.semantics.pairs_triplets import fill_given
from talweg.v1 import options_pb2
from talweg.v1.losses_pb2 import Loss, Uncertainty
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.tasks_pb2 import Segmentation

M = TypeVar("M", bound=Message)


def fill(spec: JobSpec) -> JobSpec:
    """Give a copy of a spec in which every default is explicit, those by task and loss too.

    Filling twice gives the same. A spec with parts missing is filled as far as it goes.
    """
    task = task_kind(spec)
    if task in (options_pb2.SEGMENTATION, options_pb2.MULTITASK):
        spec = _with_modes(spec)
    if task == options_pb2.METRIC_LEARNING:
        spec = _copy(spec)
        fill_given(spec)
    filled = fill_message(spec)
    if not filled.outputs.HasField("checkpoint"):
        filled.outputs.checkpoint = filled.outputs.model
    if task == options_pb2.TASK_KIND_UNSPECIFIED:
        return filled
    if task == options_pb2.MULTITASK:
        _fill_multitask(filled)
    if not filled.split.HasField("stratified"):
        filled.split.stratified = task in (options_pb2.BINARY, options_pb2.MULTICLASS)
    if not filled.preprocessing.HasField("standardise_targets"):
        raw = any(loss_facts(leaf.DESCRIPTOR).raw_targets for *_, leaf in leaves(filled.loss))
        filled.preprocessing.standardise_targets = task == options_pb2.REGRESSION and not raw
    return filled


def _copy(spec: JobSpec) -> JobSpec:
    copy = JobSpec()
    copy.CopyFrom(spec)
    return copy


def _with_modes(spec: JobSpec) -> JobSpec:
    """Give a copy in which losses of regions, where they say nothing, take the task's masks."""
    changed = _copy(spec)
    if task_kind(spec) == options_pb2.SEGMENTATION:
        _set_modes(changed.loss, changed.task.segmentation)
    for head in heads(changed):
        if head.loss is not None and isinstance(head.message, Segmentation):
            _set_modes(head.loss, head.message)
    return changed


def _set_modes(loss: Loss, masks: Segmentation) -> None:
    for *_, leaf in leaves(loss):
        if "mode" in fields(leaf.DESCRIPTOR) and not leaf.HasField("mode"):
            leaf.mode = mode_of(masks.target)  # type: ignore[attr-defined]


def _fill_multitask(spec: JobSpec) -> None:
    """Say by what scale the targets are learnt, and what each task is."""
    found = heads(spec)
    if not spec.preprocessing.HasField("standardise_targets"):
        spec.preprocessing.standardise_targets = any(head.kind == "number" for head in found)
    weighs = spec.loss.uncertainty
    is_kendall = weighs.variant == Uncertainty.kendall
    if chosen(spec.loss) == "uncertainty" and is_kendall and not weighs.task_types:
        kinds = (Uncertainty.regression, Uncertainty.classification)
        weighs.task_types.extend(kinds[head.of_classes] for head in found)


def fill_message(message: M) -> M:
    """Give a copy of a message in which every default is explicit."""
    filled = type(message)()
    filled.CopyFrom(message)
    _fill(filled)
    return filled


def _fill(message: Message) -> None:
    descriptor = message.DESCRIPTOR
    known = fields(descriptor)
    for field in known.values():
        if field.is_map:
            continue
        if field.is_list:
            _fill_list(message, field)
        elif field.type is Type.MESSAGE:
            _fill_part(message, field)
        elif not field.oneof and field.default is not None and not message.HasField(field.name):
            setattr(message, field.name, field.default)
    for oneof, members in oneofs(descriptor).items():
        if oneof != CHOICE and message.WhichOneof(oneof) is None:
            for name in members:
                if known[name].default is not None:
                    setattr(message, name, known[name].default)
                    break


def _fill_list(message: Message, field: Field) -> None:
    items = getattr(message, field.name)
    if field.type is Type.MESSAGE:
        for item in items:
            _fill(item)
    elif not items and field.default is not None:
        items.extend(field.default)


def _fill_part(message: Message, field: Field) -> None:
    present = message.HasField(field.name)
    if not present and not (field.fill or field.default):
        return
    part: Message = getattr(message, field.name)
    part.SetInParent()
    if field.default and not chosen(part):
        getattr(part, str(field.default)).SetInParent()
    _fill(part)
