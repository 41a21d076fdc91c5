"""What a spec says, by its descriptors: chosen members, losses within losses, metrics, outputs."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from itertools import chain

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from talweg.spec.errors import one_of, shown
from talweg.spec.fields import choices, descriptor_of, fields
from talweg.spec.semantics.heads import Head, heads
from talweg.spec.semantics.pairs_triplets import LABEL, arrays_held, arrays_of_given, given_of
from talweg.v1 import options_pb2
from talweg.v1.losses_pb2 import GaussianNll, Loss, MultiQuantile
from talweg.v1.options_pb2 import (
    DatasetFacts,
    Goal,
    LossFacts,
    MetricFacts,
    ModelFacts,
    OptimizerFacts,
    TaskFacts,
    TaskKind,
)
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.tasks_pb2 import MetricLearning, ObjectDetection, Segmentation, Task

# The metric that exists only where the loss names quantiles, and the losses that do.
_PINBALL = "pinball"
_QUANTILE_LOSSES = ("quantile", "multi_quantile")
# The field of losses that compare embeddings with one learned vector a class.
_EMBEDDING_SIZE = "embedding_size"
# What a detector gives of each location beside the classes: a box.
SIDES = 4
# Layers that change no value once training is over.
_TRANSPARENT_LAYERS = ("flatten", "dropout")


def kind(message: Message) -> tuple[str, Message]:
    """Give the chosen member of a message's oneof ``kind``: ``("huber", Huber(...))``.

    Raises:
        ValueError: Where none is chosen.
    """
    name = chosen(message)
    if not name:
        members = one_of(choices(message.DESCRIPTOR))
        raise ValueError(f"{message.DESCRIPTOR.name} must be {members}, but got nothing")
    member: Message = getattr(message, name)
    return name, member


def chosen(message: Message) -> str:
    """Give the name of the chosen member, or '' where none is or can be chosen."""
    if not choices(message.DESCRIPTOR):
        return ""
    return message.WhichOneof("kind") or ""


def leaves(loss: Loss, path: str = "loss") -> Iterator[tuple[str, str, Message]]:
    """Give each loss that is no sum: the path of its `Loss`, its name and its parameters."""
    name = chosen(loss)
    if name == "sum":
        for index, term in enumerate(loss.sum.terms):
            yield from leaves(term.loss, f"{path}.sum.terms[{index}].loss")
    elif name:
        yield path, name, getattr(loss, name)


@functools.cache
def loss_facts(message: Descriptor) -> LossFacts:
    """Give the catalogue's facts about a loss's message."""
    return message.GetOptions().Extensions[options_pb2.loss]


@functools.cache
def task_facts(message: Descriptor) -> TaskFacts:
    """Give the catalogue's facts about a task's message."""
    return message.GetOptions().Extensions[options_pb2.task]


@functools.cache
def model_facts(message: Descriptor) -> ModelFacts:
    """Give the catalogue's facts about a model's message."""
    return message.GetOptions().Extensions[options_pb2.model]


@functools.cache
def dataset_facts(message: Descriptor) -> DatasetFacts:
    """Give the catalogue's facts about a data set's message."""
    return message.GetOptions().Extensions[options_pb2.dataset]


@functools.cache
def optimizer_facts(message: Descriptor) -> OptimizerFacts:
    """Give the catalogue's facts about an optimizer's message."""
    return message.GetOptions().Extensions[options_pb2.optimizer]


def task_kind(spec: JobSpec) -> TaskKind.ValueType:
    """Give the spec's task by kind; TASK_KIND_UNSPECIFIED where it names none."""
    name = chosen(spec.task)
    if not name:
        return options_pb2.TASK_KIND_UNSPECIFIED
    return task_facts(Task.DESCRIPTOR.fields_by_name[name].message_type).kind


def task_name(task: TaskKind.ValueType) -> str:
    """Give a task's name in JSON, such as ``regression``."""
    return TaskKind.Name(task).lower()


@functools.cache
def tasks_by_name() -> dict[str, TaskKind.ValueType]:
    """Give the kind of each member of `Task`, by its name."""
    members = choices(Task.DESCRIPTOR)
    known = fields(Task.DESCRIPTOR)
    return {name: task_facts(known[name].descriptor.message_type).kind for name in members}


def arrays_of(spec: JobSpec) -> tuple[str, ...]:
    """Give the names of the arrays that the spec's task reads from its data: ``("x", "y")``."""
    name = chosen(spec.task)
    if not name:
        return ()
    own: Iterable[str] = task_facts(Task.DESCRIPTOR.fields_by_name[name].message_type).arrays
    if name == "metric_learning":
        own = arrays_of_given(given_of(spec))
    of_heads = (task_facts(head.message.DESCRIPTOR).arrays for head in heads(spec))
    return tuple(dict.fromkeys(chain(own, *of_heads)))


def metrics_of(spec: JobSpec) -> tuple[MetricFacts, ...]:
    """Give the metrics that the spec's task reports on validation and test data."""
    name = chosen(spec.task)
    if not name:
        return ()
    facts = task_facts(Task.DESCRIPTOR.fields_by_name[name].message_type)
    if facts.kind == options_pb2.MULTITASK:
        return tuple(chain.from_iterable(map(_metrics_of_head, heads(spec))))
    if facts.kind == options_pb2.METRIC_LEARNING:
        return tuple(_metrics_of_vectors(spec, facts))
    has_quantiles = any(loss in _QUANTILE_LOSSES for _, loss, _ in leaves(spec.loss))
    return tuple(m for m in facts.metrics if m.name != _PINBALL or has_quantiles)


def _metrics_of_vectors(spec: JobSpec, facts: TaskFacts) -> Iterator[MetricFacts]:
    """Give what can be told of labels, pairs or triplets, what tells most first."""
    known = {metric.name: metric for metric in facts.metrics}
    given = given_of(spec)
    if given == MetricLearning.triplets:
        yield known["triplet_accuracy"]
    if given != MetricLearning.labels:
        yield known["verification_auroc"]
    if LABEL in arrays_held(spec):
        yield from (metric for name, metric in known.items() if name.startswith("recall"))
    if given == MetricLearning.labels:
        yield known["verification_auroc"]


def _metrics_of_head(head: Head) -> Iterator[MetricFacts]:
    for facts in task_facts(head.message.DESCRIPTOR).metrics:
        named = MetricFacts()
        named.CopyFrom(facts)
        named.name = f"{head.name}/{facts.name}"
        yield named
    yield MetricFacts(
        name=f"{head.name}/loss", goal=options_pb2.MINIMIZE, meaning="the head's own loss"
    )


def primary_metric(spec: JobSpec) -> str:
    """Give the metric that jobs are compared by: the task's first, on the last data kept apart.

    ``test/mae``, for one; on validation data where nothing is kept for the test; ``train/loss``
    where nothing is kept at all, or where there is no task.
    """
    metrics = metrics_of(spec)
    split = spec.split
    if metrics and (split.test > 0 or not split.HasField("test")):
        return f"test/{metrics[0].name}"
    if metrics and (split.validation > 0 or not split.HasField("validation")):
        return f"val/{metrics[0].name}"
    return "train/loss"


def goal_of(spec: JobSpec, metric: str) -> Goal.ValueType:
    """Tell whether a metric, such as ``val/mae``, is better low or high.

    GOAL_UNSPECIFIED for metrics without a goal, such as ``lr``.
    """
    part, _, name = metric.partition("/")
    if part not in ("train", "val", "test"):
        return options_pb2.GOAL_UNSPECIFIED
    if name == "loss":
        return options_pb2.MINIMIZE
    for known in metrics_of(spec):
        if name == known.name and not known.by_class:
            return known.goal
        if known.by_class and name.startswith(f"{known.name}_"):
            return known.goal
    return options_pb2.GOAL_UNSPECIFIED


def output_activation(spec: JobSpec) -> str:
    """Tell what the model's own last layer applies: ``none``, ``sigmoid`` or ``softmax``."""
    layer = last_layer(spec)
    return "none" if layer is None else layer[1]


def last_layer(spec: JobSpec) -> tuple[int, str] | None:
    """Give index and name of the layer by which a `sequential` ends in probabilities, if any."""
    if chosen(spec.model) != "sequential":
        return None
    layers = spec.model.sequential.layers
    for index in range(len(layers) - 1, -1, -1):
        name = chosen(layers[index])
        if name in ("sigmoid", "softmax"):
            return index, name
        if name not in _TRANSPARENT_LAYERS:
            return None
    return None


def num_outputs(spec: JobSpec, num_targets: int) -> int:
    """Give the number of outputs that the model's last layer needs.

    Args:
        spec: The job.
        num_targets: Numbers, classes, ranks or labels a sample, or channels of its image, as the
            data has them.

    Returns:
        K for regression, K·Q under multi_quantile, 2K under gaussian_nll; 1 for binary; C for
        multiclass, the embedding's size under losses that compare embeddings with a vector a
        class; L for multilabel; K-1 for the steps between K ranks; the embedder's size where the
        model gives embeddings; of each pixel C for segmentation, 1 under target foreground, and
        the target's channels for image translation; of each location C + 4 for detection; the
        numbers of an autoencoder's code; 1 for a critic's score.

    Raises:
        ValueError: Where num_targets is below 1, or the spec names no task.
    """
    if num_targets < 1:
        raise ValueError(f"num_targets must be >= 1, but got {shown(num_targets)}")
    task = task_kind(spec)
    if task == options_pb2.BINARY:
        return 1
    if task == options_pb2.REGRESSION:
        return num_targets * _outputs_per_target(spec.loss)
    if task == options_pb2.MULTICLASS:
        return embedding_size(spec.loss) or num_targets
    if task in (options_pb2.MULTILABEL, options_pb2.IMAGE_TRANSLATION):
        return num_targets
    if task == options_pb2.ORDINAL:
        return max(1, num_targets - 1)
    if task == options_pb2.DETECTION:
        return num_targets + SIDES
    if task == options_pb2.SEGMENTATION:
        return 1 if spec.task.segmentation.target == Segmentation.foreground else num_targets
    if task in (options_pb2.METRIC_LEARNING, options_pb2.SELF_SUPERVISED):
        return spec.model.embedder.size
    if task == options_pb2.VAE:
        return spec.model.autoencoder.code
    if task == options_pb2.GAN:
        return 1
    if task == options_pb2.MULTITASK:
        return sum(outputs_of_head(head, num_targets) for head in heads(spec))
    raise ValueError("task must be chosen to know the number of outputs, but got nothing")


def judges_loss(spec: JobSpec) -> bool:
    """Tell whether the loss can be taken on validation and test data.

    Not under metric learning by a loss that has a vector of its own for each class: it has none
    for the classes of those data. Nor in a game, in which what one pays says nothing by itself.
    """
    if task_kind(spec) == options_pb2.GAN:
        return False
    unseen = task_kind(spec) == options_pb2.METRIC_LEARNING
    return not (unseen and embedding_size(spec.loss))


def outputs_of_head(head: Head, num_targets: int) -> int:
    """Give the number of outputs of one head of a multitask job."""
    if isinstance(head.message, ObjectDetection):
        return num_targets + SIDES
    if not isinstance(head.message, Segmentation):
        return 1
    return 1 if head.message.target == Segmentation.foreground else num_targets


def _outputs_per_target(loss: Loss) -> int:
    """Give the number of outputs for one target: quantiles, or a mean and a variance, else 1."""
    for _, _, leaf in leaves(loss):
        if isinstance(leaf, MultiQuantile):
            return max(1, len(leaf.quantiles))
        if isinstance(leaf, GaussianNll):
            return 2
    return 1


def embedding_size(loss: Loss) -> int:
    """Give the length of the vectors that a loss compares with one a class; 0 where none does."""
    for _, _, leaf in leaves(loss):
        if takes_embedding(leaf):
            return int(getattr(leaf, _EMBEDDING_SIZE))
    return 0


def takes_embedding(loss: Message) -> bool:
    """Tell whether a loss compares what the model gives with a learned vector a class."""
    return _EMBEDDING_SIZE in fields(descriptor_of(loss))
