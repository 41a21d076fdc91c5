"""Random specs that pass validation: pairs of the catalogue, options at random.

A spec is drawn by the descriptors. What the rules then refuse is left out, and a spec that
cannot be mended so is drawn anew.
"""

import random
import re
from typing import Any

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from tests.fuzz.scalars import SMALL, formula, number_of
from tests.proto.specs import OWN_DATA

from talweg.spec import Violation, complete
from talweg.spec.fields import Field, Type, choices, descriptor_of, exactly_one, fields, oneofs
from talweg.spec.semantics.dataset_facts import dataset_facts
from talweg.spec.semantics.facts import (
    loss_facts,
    model_facts,
    task_facts,
    tasks_by_name,
)
from talweg.spec.semantics.torchmetrics_classes import CLASSES
from talweg.v1.evaluation_pb2 import CustomMetric
from talweg.v1.losses_pb2 import FeatureNetwork, Loss
from talweg.v1.models_pb2 import Sequential
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.tasks_pb2 import Multitask

FEATURES = "jobs/features"
"""The job whose model a perceptual loss compares by."""
FEATURE_LAYERS = ("relu1", "relu2")
"""Its layers."""

_MAX_PAIRS = 20
_MAX_DRAWS = 15
_MAX_MENDS = 12
# Other jobs' records and models are needed for the first five; a process of its own for the
# sixth; the names of a model's parameters for the last two.
_LEFT_OUT = {
    "continued_from", "replay", "weights", "session", "test_of", "processes",
    "time_limit_seconds", "freeze", "learning_rates",
}  # fmt: skip
_DIMS_OF_IMAGE = 3
# Without them a loss takes a network that is not there, a multitask job has no losses, and sizes
# are such that a few steps take seconds.
_ALWAYS_SET = {"network", "layers", "losses", "trunk", *SMALL} - {"batch_size"}
# Left out they would mean a long training.
_DRAWN_ONCE = {"steps", "epochs", "training", *SMALL}
# What holds a loss for each head of a multitask job.
_OF_HEADS = {"losses", "terms"}
_OF_IMAGES = (
    "conv2d", "max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "group_norm", "flatten",
)  # fmt: skip
_ANYWHERE = (
    "linear", "batch_norm", "layer_norm", "dropout", "relu", "leaky_relu", "elu", "gelu", "silu",
    "tanh", "sigmoid", "softplus", "softmax",
)  # fmt: skip
_TASKS = tasks_by_name()


def _of(message: type[Message]) -> Descriptor:
    return message.DESCRIPTOR  # type: ignore[return-value]


def _member(message: type[Message], name: str) -> Descriptor:
    found = fields(_of(message))[name].message
    assert found is not None
    return found


def pairs() -> list[tuple[str, str]]:
    """Return each task with each loss that fits it and that jobs can train with."""
    return [
        (task, name)
        for task, kind in _TASKS.items()
        for name, facts in ((each, loss_facts(_member(Loss, each))) for each in choices(_of(Loss)))
        # What a plug-in does is its own affair.
        if kind in facts.tasks and not facts.only_evaluated and name != "plugin"
    ]


_PAIRS = pairs()


def random_spec(rng: random.Random, *, features_sha256: str = "") -> JobSpec:
    """Draw a spec that passes validation, as a client would send it: not filled.

    Args:
        rng: Where chance comes from.
        features_sha256: The digest of the model of `FEATURES`; without it perceptual losses
            compare by a model that is nowhere.
    """
    for _ in range(_MAX_PAIRS):
        # Each task as often as another, or else each pair: some tasks have very few losses.
        task = rng.choice(list(_TASKS) if rng.random() < 0.5 else [task for task, _ in _PAIRS])
        loss = rng.choice([name for of_task, name in _PAIRS if of_task == task])
        for _ in range(_MAX_DRAWS):
            spec = _Draw(rng, features_sha256).spec(task, loss)
            if spec is not None:
                return spec
    raise AssertionError(f"no valid spec in {_MAX_PAIRS * _MAX_DRAWS} draws")


class _Draw:
    def __init__(self, rng: random.Random, features_sha256: str) -> None:
        self._rng = rng
        self._sha256 = features_sha256
        # Where all numbers lie at bounds a job ends at its first step, and nothing else is tried.
        self._wildness = rng.choice([0.0, 0.05, 0.3, 0.6, 1.0])
        self._share_set = rng.choice([0.2, 0.5, 0.9])
        self._kind = 0
        self._metrics = ["val/loss"]
        self._num_classes = 3
        self._is_image = False
        self._heads: list[str] = []

    def spec(self, task: str, loss: str) -> JobSpec | None:
        """Draw a spec of a task and a loss that fits it; None where it could not be mended."""
        rng, spec = self._rng, JobSpec()
        self._kind = _TASKS[task]
        facts = task_facts(_child(spec.task, task))
        self._metrics += [f"val/{metric.name}" for metric in facts.metrics if not metric.by_class]
        names = [
            name
            for name in choices(descriptor_of(spec.dataset))
            if name not in OWN_DATA
            and self._kind in dataset_facts(_child(spec.dataset, name)).tasks
        ]
        name = rng.choice(names)
        self._choose(spec.dataset, name)
        self._learn(name, getattr(spec.dataset, name))
        self._choose(spec.task, task)
        self._choose(spec.loss, loss)
        self._choose(spec.model, rng.choice(self._models(spec.model)))
        self._scatter(spec, done={"task", "dataset", "model", "loss"})
        if spec.training.WhichOneof("length") is None:
            spec.training.steps = rng.choice([1, 2, 3])
        if spec.training.epochs and "num_samples" not in fields(_child(spec.dataset, name)):
            spec.training.batch_size = rng.choice([32, 100, 1_000_000])
        return self._mended(spec)

    def _learn(self, name: str, dataset: Message) -> None:
        facts = dataset_facts(descriptor_of(dataset))
        classes = facts.num_classes or getattr(dataset, "num_classes", 0)
        self._num_classes = classes or self._rng.choice([2, 3])
        self._is_image = len(facts.shape) == _DIMS_OF_IMAGE
        kinds = ["segmentation", "depth", "detection"] if self._is_image else ["number"]
        self._heads = [self._rng.choice(kinds) for _ in range(self._rng.choice([1, 2, 3]))]

    def _models(self, part: Message) -> list[str]:
        fitting = []
        for name in choices(descriptor_of(part)):
            facts = model_facts(_child(part, name))
            suits = not (facts.vectors if self._is_image else facts.images)
            if suits and self._kind in facts.tasks and name != "plugin":
                fitting.append(name)
        return fitting

    def _choose(self, part: Message, name: str) -> None:
        member = getattr(part, name)
        member.SetInParent()
        self._scatter(member)

    def _scatter(self, message: Message, done: set[str] | frozenset[str] = frozenset()) -> None:
        rng, descriptor = self._rng, descriptor_of(message)
        skipped = set(done) | _LEFT_OUT
        if isinstance(message, Sequential):
            return self._layers(message)
        if isinstance(message, Multitask):
            return self._set_heads(message)
        for members in oneofs(descriptor).values():
            chosen = rng.choice([name for name in members if name != "plugin"])
            if descriptor.name == "SharedTrunk":
                chosen = "unet" if self._is_image else "mlp"
            must = members == choices(descriptor)
            skipped |= {name for name in members if name != chosen}
            if must and chosen not in skipped:
                self._set(message, fields(descriptor)[chosen])
                skipped.add(chosen)
        alone = exactly_one(descriptor)
        if alone:
            chosen = rng.choice(alone)
            skipped |= set(alone)
            self._set(message, fields(descriptor)[chosen])
        for field in fields(descriptor).values():
            if field.name in skipped:
                continue
            always = {field.name, f"{descriptor.name}.{field.name}"} & _ALWAYS_SET
            if field.required or field.min_items or always or rng.random() < self._share_set:
                self._set(message, field)

    def _set(self, message: Message, field: Field) -> None:
        rng = self._rng
        if self._heads and field.name in _OF_HEADS and _TASKS["multitask"] == self._kind:
            self._set_head_losses(getattr(message, field.name))
        elif field.is_map:
            name = "k" if field.name == "params" else "key"
            getattr(message, field.name)[name] = self._scalar(message, field)
        elif field.is_list:
            for _ in range(self._length(field)):
                if field.type is Type.MESSAGE:
                    self._scatter_or_choose(getattr(message, field.name).add())
                else:
                    getattr(message, field.name).append(self._scalar(message, field))
        elif field.type is Type.MESSAGE:
            part = getattr(message, field.name)
            part.SetInParent()
            self._scatter_or_choose(part)
        else:
            setattr(message, field.name, self._scalar(message, field))
        if field.name == "formula" and rng.random() < 0.9:
            params: Any = message
            params.params["k"] = rng.choice([0.0, 1.0, -2.0, 1e30, 1e-30])

    def _scatter_or_choose(self, part: Message) -> None:
        if isinstance(part, Loss):
            fitting = [name for task, name in _PAIRS if _TASKS[task] == self._kind]
            usual = [name for name in fitting if name != "sum"] or fitting
            self._choose(part, self._rng.choice(usual))
        elif isinstance(part, FeatureNetwork):
            if self._sha256:
                part.job.job, part.job.sha256 = FEATURES, self._sha256
            else:
                part.trained.model = "x1"
        elif isinstance(part, CustomMetric):
            self._scatter(part)
            part.ClearField(self._rng.choice(["torchmetrics", "formula"]))
            if part.HasField("torchmetrics"):
                part.ClearField("params")
                part.ClearField("goal")
        else:
            self._scatter(part)

    def _set_heads(self, task: Multitask) -> None:
        for place, kind in enumerate(self._heads):
            head = task.heads.add(name=f"head_{place}")
            member = getattr(head, kind)
            member.SetInParent()
            self._scatter(member)

    def _set_head_losses(self, losses: Any) -> None:
        # One a head; in a sum each is a term's.
        self._kind, of_job = 0, self._kind
        for head in self._heads:
            task = head if head in _TASKS else "regression"
            loss = losses.add()
            self._kind = _TASKS[task]
            names = [name for of_task, name in _PAIRS if of_task == task and name != "sum"]
            self._choose(loss if isinstance(loss, Loss) else loss.loss, self._rng.choice(names))
        self._kind = of_job

    def _layers(self, model: Sequential) -> None:
        flat = not self._is_image
        for _ in range(self._rng.randint(0, 4)):
            names = _ANYWHERE if flat else (*_ANYWHERE, *_OF_IMAGES)
            self._choose(model.layers.add(), self._rng.choice(names))
            flat = flat or model.layers[-1].WhichOneof("kind") in ("flatten", "linear")
        if not flat:
            model.layers.add().flatten.SetInParent()
        model.layers.add().linear.SetInParent()

    def _length(self, field: Field) -> int:
        if field.name in ("values", "class_counts", "class_shares"):
            return self._num_classes
        least, most = field.min_items, min(field.max_items or 3, 3)
        return self._rng.randint(max(least, 1), max(least, most))

    def _scalar(self, message: Message, field: Field) -> Any:
        rng = self._rng
        if field.type is Type.FLAG:
            return rng.random() < 0.5
        if field.enum is not None:
            return rng.choice(field.enum.values).number
        if field.type is Type.TEXT:
            return self._text(message, field)
        return number_of(descriptor_of(message).name, field, rng, wildness=self._wildness)

    def _text(self, message: Message, field: Field) -> str:
        rng = self._rng
        if field.name == "formula":
            return formula(rng, depth=rng.choice([0, 1, 2, 4]))
        if field.name == "metric":
            return rng.choice(self._metrics)
        if field.name == "layers":
            return rng.choice(FEATURE_LAYERS)
        if descriptor_of(message).name == "DifficultyArray":
            return rng.choice(["y", "count", "depth", "none"])
        if field.name == "class_name":
            return rng.choice(list(CLASSES.get(self._kind) or ["AUROC"]))
        if field.name == "goal":
            return rng.choice(["minimize", "maximize"])
        texts = ["a", "x1", "name of it", "ünïcode ✓", ""]
        pattern = field.pattern
        return rng.choice([each for each in texts if pattern is None or pattern.fullmatch(each)])

    def _mended(self, spec: JobSpec) -> JobSpec | None:
        for _ in range(_MAX_MENDS):
            _, violations, _ = complete(spec)
            if not violations:
                return spec
            # Several at once, since each check of all of it takes a while.
            mends = [_left_out(spec, violation) for violation in violations[:5]]
            if not all(mends):
                return None
        return None


def _child(part: Message, name: str) -> Descriptor:
    found = fields(descriptor_of(part))[name].message
    assert found is not None
    return found


def _left_out(spec: JobSpec, violation: Violation) -> bool:
    """Leave out what a violation is about, or the nearest around it that is set."""
    steps = [
        (name, int(index) if index else None)
        for name, index in re.findall(r"(\w+)(?:\[(\d+)\])?", violation.field)
    ]
    while steps:
        message: Any = spec
        for name, index in steps[:-1]:
            if not _holds(message, name):
                break
            message = getattr(message, name)
            if index is not None:
                if index >= len(message):
                    break
                message = message[index]
        else:
            name, index = steps[-1]
            if isinstance(message, Message) and _holds(message, name):
                field = fields(descriptor_of(message))[name]
                # To draw these anew is to draw another spec.
                if (
                    field.required
                    or name in _DRAWN_ONCE
                    or name in choices(descriptor_of(message))
                ):
                    return False
                if index is not None and len(getattr(message, name)) > field.min_items:
                    del getattr(message, name)[min(index, len(getattr(message, name)) - 1)]
                else:
                    message.ClearField(name)
                return True
        steps.pop()
    return False


def _holds(message: Any, name: str) -> bool:
    if not isinstance(message, Message):
        return False
    return any(descriptor.name == name for descriptor, _ in message.ListFields())
