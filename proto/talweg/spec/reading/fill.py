"""Makes the defaults of a spec explicit, so that it says all that a run depends on."""

import functools
from typing import TypeVar

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from talweg.spec.fields import CHOICE, Field, Type, descriptor_of, fields, oneofs
from talweg.spec.rules.data.images import mode_of
from talweg.spec.semantics.dataset_facts import facts_of_chosen, is_looked_up
from talweg.spec.semantics.facts import chosen, leaves, loss_facts, task_kind
from talweg.spec.semantics.heads import heads
from talweg.spec.semantics.pairs_triplets import fill_examples
from talweg.spec.stored.weights import name_weights
from talweg.v1 import options_pb2
from talweg.v1.losses_pb2 import Loss, Uncertainty, Vae
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
    if task == options_pb2.VAE:
        spec = _with_likelihood(spec)
    if task == options_pb2.METRIC_LEARNING:
        spec = _copy(spec)
        fill_examples(spec)
    if spec.split.folds >= 2:
        spec = _with_fold(spec)
    filled = fill_message(spec)
    name_weights(filled)
    if not filled.outputs.HasField("checkpoint"):
        # What a session keeps is tested when it is closed.
        filled.outputs.checkpoint = filled.outputs.model or filled.HasField("session")
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


def _with_fold(spec: JobSpec) -> JobSpec:
    """Return a copy whose test data are a fold, and whose training data the rest."""
    changed = _copy(spec)
    split = changed.split
    if not split.HasField("test"):
        split.test = 1 / split.folds
    if not split.HasField("train"):
        validation = fill_message(split).validation
        rest = 1 - validation - split.test
        # Where nothing is left, the check says so of the validation data.
        if rest > 0:
            split.train = rest
    return changed


def _with_modes(spec: JobSpec) -> JobSpec:
    """Give a copy in which losses, where they say nothing, take the task's masks."""
    changed = _copy(spec)
    if task_kind(spec) == options_pb2.SEGMENTATION:
        _set_modes(changed.loss, changed.task.segmentation)
        _set_ignored(changed.loss, changed)
    for head in heads(changed):
        if head.loss is not None and isinstance(head.message, Segmentation):
            _set_modes(head.loss, head.message)
            _set_ignored(head.loss, changed)
    return changed


def _set_modes(loss: Loss, masks: Segmentation) -> None:
    for *_, leaf in leaves(loss):
        if "mode" in fields(leaf.DESCRIPTOR) and not leaf.HasField("mode"):
            leaf.mode = mode_of(masks.target)  # type: ignore[attr-defined]


def _set_ignored(loss: Loss, spec: JobSpec) -> None:
    """Have losses leave out the pixels that have no class in the masks, where they can."""
    if spec.dataset.WhichOneof("kind") != "stored":
        return
    facts = spec.dataset.stored.facts
    if not facts.HasField("ignore_index"):
        return
    for *_, leaf in leaves(loss):
        if "ignore_index" in fields(leaf.DESCRIPTOR) and not leaf.HasField("ignore_index"):
            leaf.ignore_index = facts.ignore_index  # type: ignore[attr-defined]


def _with_likelihood(spec: JobSpec) -> JobSpec:
    """Return a copy in which samples that are not in [0, 1] are reconstructed as Gaussian.

    So are those of a plug-in, which may be any numbers.
    """
    facts = facts_of_chosen(spec.dataset)
    is_known = is_looked_up(spec.dataset) or spec.dataset.HasField("plugin")
    if facts is None or facts.in_unit_range or not is_known:
        return spec
    changed = _copy(spec)
    for _, loss, leaf in leaves(changed.loss):
        if loss == "vae" and not leaf.HasField("recon"):
            leaf.recon = Vae.gaussian  # type: ignore[attr-defined]
    return changed


def _fill_multitask(spec: JobSpec) -> None:
    """Say by what scale the targets are learnt, and what each task is."""
    all_heads = heads(spec)
    if not spec.preprocessing.HasField("standardise_targets"):
        spec.preprocessing.standardise_targets = any(head.kind == "number" for head in all_heads)
    weighs = spec.loss.uncertainty
    is_kendall = weighs.variant == Uncertainty.kendall
    if chosen(spec.loss) == "uncertainty" and is_kendall and not weighs.task_types:
        kinds = (Uncertainty.regression, Uncertainty.classification)
        weighs.task_types.extend(kinds[head.of_classes] for head in all_heads)


def fill_message(message: M) -> M:
    """Give a copy of a message in which every default is explicit."""
    filled = type(message)()
    filled.CopyFrom(message)
    _fill(filled)
    return filled


def _fill(message: Message) -> None:
    descriptor = descriptor_of(message)
    known = fields(descriptor)
    for field in _defaulted(descriptor):
        if field.is_list:
            items = getattr(message, field.name)
            if not items:
                items.extend(field.default)
        elif field.type is Type.MESSAGE:
            _add_part(message, field)
        elif not message.HasField(field.name):
            setattr(message, field.name, field.default)
    for oneof, field in _defaulted_oneofs(descriptor):
        if message.WhichOneof(oneof) is None:
            setattr(message, field.name, field.default)
    for field_descriptor, value in message.ListFields():
        field = known[field_descriptor.name]
        if field.type is Type.MESSAGE and not field.is_map:
            for part in value if field.is_list else (value,):
                _fill(part)


def _add_part(message: Message, field: Field) -> None:
    part: Message = getattr(message, field.name)
    part.SetInParent()
    if field.default and not chosen(part):
        getattr(part, str(field.default)).SetInParent()


# Most fields have no default, and `Loss` alone has dozens: found once a message type.
@functools.cache
def _defaulted(descriptor: Descriptor) -> tuple[Field, ...]:
    """Give the fields that something is put into where they are absent, oneofs apart."""
    return tuple(
        field
        for field in fields(descriptor).values()
        if not field.oneof and not field.is_map and (field.fill or field.default is not None)
    )


@functools.cache
def _defaulted_oneofs(descriptor: Descriptor) -> tuple[tuple[str, Field], ...]:
    """Give each oneof, choices apart, that has a default, and the first member with one."""
    known = fields(descriptor)
    defaults = []
    for oneof, members in oneofs(descriptor).items():
        defaulted = [known[name] for name in members if known[name].default is not None]
        if oneof != CHOICE and defaulted:
            defaults.append((oneof, defaulted[0]))
    return tuple(defaults)
