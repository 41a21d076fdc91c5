"""What a model's outputs are under a loss, and how many a task needs: facts of their messages."""

import json
import operator
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from google.protobuf.message import Message

from talweg.spec.errors import shown
from talweg.spec.fields import descriptor_of, fields
from talweg.spec.semantics.facts import chosen, leaves, loss_facts, task_facts
from talweg.spec.semantics.heads import Head, heads
from talweg.v1 import options_pb2
from talweg.v1.losses_pb2 import Loss
from talweg.v1.options_pb2 import Activation, Condition, OutputFacts
from talweg.v1.spec_pb2 import JobSpec

MODEL_GIVES: dict[OutputFacts.Kind.ValueType, str] = {
    OutputFacts.OF_TASK: "the outputs that the task has",
    OutputFacts.OF_LOSSES: "the outputs that its losses take",
    OutputFacts.VALUES: "the predictions themselves",
    OutputFacts.BINARY_LOGITS: "binary logits",
    OutputFacts.CLASS_LOGITS: "class logits",
    OutputFacts.LOG_MEAN: "the log of the mean",
    OutputFacts.MEAN_AND_VARIANCE: "two outputs per target, the mean and the variance",
    OutputFacts.QUANTILES: "one output per quantile",
    OutputFacts.RANK_LOGITS: "logits of rank > k",
    OutputFacts.CONDITIONAL_RANK_LOGITS: "logits of rank > k given rank ≥ k",
    OutputFacts.EMBEDDING: "an embedding, compared by cosine similarity",
    OutputFacts.EUCLIDEAN_EMBEDDING: "an embedding, compared by Euclidean distance",
    OutputFacts.CLASS_EMBEDDING: "an embedding, compared with one learned vector per class",
    OutputFacts.BOXES: "class logits and a box per location",
    OutputFacts.SCORES: "critic scores",
    OutputFacts.NORMAL_INVERSE_GAMMA: "four outputs per target, the mean and its evidence",
}
"""What a model gives under a loss, by kind, in words: `the model gives …`, `tweedie takes …`."""

_ACTIVATIONS = {
    OutputFacts.BINARY_LOGITS: options_pb2.SIGMOID,
    OutputFacts.CLASS_LOGITS: options_pb2.SOFTMAX,
    OutputFacts.CLASS_EMBEDDING: options_pb2.SOFTMAX,
    OutputFacts.LOG_MEAN: options_pb2.EXP,
    OutputFacts.RANK_LOGITS: options_pb2.SIGMOID,
    OutputFacts.CONDITIONAL_RANK_LOGITS: options_pb2.SIGMOID,
}
NONNEGATIVE_LAYERS = ("softplus", "relu", "sigmoid", "softmax")
"""Layers of a `sequential` whose outputs are never negative."""
# Layers that change no value once training is over.
_TRANSPARENT_LAYERS = ("flatten", "dropout")
# Under these a model's outputs mean what they mean under no other loss of the task.
_SPECIAL = (
    OutputFacts.LOG_MEAN,
    OutputFacts.MEAN_AND_VARIANCE,
    OutputFacts.NORMAL_INVERSE_GAMMA,
    OutputFacts.QUANTILES,
    OutputFacts.CONDITIONAL_RANK_LOGITS,
    OutputFacts.CLASS_EMBEDDING,
)


@dataclass(frozen=True)
class LossOutput:
    """What the outputs of the model's last layer are under a loss."""

    kind: OutputFacts.Kind.ValueType = OutputFacts.KIND_UNSPECIFIED
    """What each is."""
    per_target: int = 1
    """How many belong to one target; they stand beside each other."""
    quantiles: tuple[float, ...] = ()
    """The quantiles that the loss finds: all of one output, or under kind QUANTILES one each."""
    embedding_size: int = 0
    """The length of the vectors under kind CLASS_EMBEDDING, else 0."""
    scale: float = 1.0
    """What the vectors' cosines are multiplied by to be logits under kind CLASS_EMBEDDING."""

    @property
    def activation(self) -> Activation.ValueType:
        """What turns an output, or the logits of an embedding, into a prediction.

        NONE where outputs are predictions, where they are no numbers to predict, and where the
        task alone tells (kind OF_TASK).
        """
        return _ACTIVATIONS.get(self.kind, options_pb2.NONE)

    @property
    def is_special(self) -> bool:
        """Whether the outputs are other than the task has them under most losses."""
        return self.kind in _SPECIAL or self.per_target != 1


def output_of(loss: Loss) -> LossOutput:
    """Tell what a model's outputs are under a loss.

    Args:
        loss: The loss. Absent parameters have their defaults. The losses of a sum are over the
            same outputs, as `check` holds them to; all the quantiles that they name are told of.

    Returns:
        What its facts say; kind KIND_UNSPECIFIED where no loss is chosen, or none that a job can
        train by.
    """
    outputs = [output_of_member(message) for _, _, message in leaves(loss)]
    if not outputs:
        return LossOutput()
    # What says most of the outputs comes first; a formula says nothing of them.
    outputs.sort(key=lambda output: (not output.is_special, output.kind == OutputFacts.OF_TASK))
    if outputs[0].kind == OutputFacts.QUANTILES:
        return outputs[0]
    return replace(outputs[0], quantiles=tuple(chain(*(each.quantiles for each in outputs))))


def output_of_member(message: Message) -> LossOutput:
    """Tell what a model's outputs are under one member of `Loss`, by its parameters."""
    facts = loss_facts(descriptor_of(message)).output
    matching = (case.kind for case in facts.cases if says(message, case.parameter, case.value))
    kind = next(matching, facts.kind)
    named = _value(message, facts.quantiles) if facts.quantiles else ()
    quantiles = (named,) if isinstance(named, float) else tuple(named)
    per_target = facts.per_target or 1
    if kind == OutputFacts.QUANTILES:
        per_target = max(1, len(quantiles))
    if kind == OutputFacts.CLASS_EMBEDDING:
        size, scale = _value(message, "embedding_size"), _value(message, "scale")
        return LossOutput(kind, per_target, quantiles, size, scale)
    return LossOutput(kind, per_target, quantiles)


def pools_batch(message: Message) -> bool:
    """Tell whether a member of `Loss` may pool the samples of a batch, by its parameters.

    Its value then depends on which samples stand together; of what a user has made that is not
    known.
    """
    facts = loss_facts(descriptor_of(message))
    if not facts.HasField("pools_batch"):
        return facts.user_defined
    return holds(message, facts.pools_batch)


def holds(message: Message, condition: Condition) -> bool:
    """Return whether a message's parameters meet a condition."""
    return not condition.parameter or says(message, condition.parameter, condition.value)


def kinds_of(facts: OutputFacts) -> set[OutputFacts.Kind.ValueType]:
    """Give all that a model's outputs can be under a loss, by its parameters."""
    return {facts.kind, *(case.kind for case in facts.cases)}


def says(message: Message, parameter: str, value: str) -> bool:
    """Tell whether a parameter has a value that is written as in a job file: cosine, false."""
    field = fields(descriptor_of(message))[parameter]
    actual = _value(message, parameter)
    if field.enum is None:
        return json.dumps(actual) == value
    known = field.enum.values_by_number.get(actual)
    return known is not None and known.name == value


def _value(message: Message, parameter: str) -> Any:
    """Give a parameter's value, its default where it is absent."""
    field = fields(descriptor_of(message))[parameter]
    if field.has_presence and not message.HasField(parameter) and field.default is not None:
        return field.default
    return getattr(message, parameter)


def num_outputs(spec: JobSpec, num_targets: int) -> int:
    """Give the number of outputs that the model's last layer needs.

    Args:
        spec: The job.
        num_targets: Numbers, classes, ranks or labels a sample, or channels of its image, as the
            data has them.

    Returns:
        K for regression, K·Q under multi_quantile, 2K under gaussian_nll, 4K under
        evidential; 1 for binary; C for multiclass, the embedding's size under losses that
        compare embeddings with a vector a class; L for multilabel; K-1 for the steps
        between K ranks; the embedder's size where the model gives embeddings; of each
        pixel C for segmentation, 1 under target foreground, and the target's channels for
        image translation; of each location C + 4 for detection; the numbers of an
        autoencoder's code; 1 for a critic's score.

    Raises:
        ValueError: Where num_targets is below 1, or the spec names no task.
    """
    if num_targets < 1:
        raise ValueError(f"num_targets must be >= 1, but got {shown(num_targets)}")
    name = chosen(spec.task)
    if not name:
        raise ValueError("task must be chosen to know the number of outputs, but got nothing")
    task: Message = getattr(spec.task, name)
    count = task_facts(task.DESCRIPTOR).outputs
    if count.of_heads:
        return sum(outputs_of_head(head, num_targets) for head in heads(spec))
    if count.model_parameter:
        return int(operator.attrgetter(count.model_parameter)(spec.model))
    kind = task_facts(task.DESCRIPTOR).kind
    fits = all(kind in loss_facts(leaf.DESCRIPTOR).tasks for _, _, leaf in leaves(spec.loss))
    return _count(task, num_targets, output_of(spec.loss) if fits else LossOutput())


def outputs_of_head(head: Head, num_targets: int) -> int:
    """Give the number of outputs of one head of a multitask job."""
    return _count(head.message, num_targets, LossOutput())


def has_one_output(task: Message) -> bool:
    """Tell whether a task has one output, whatever the data: yes or no, the foreground."""
    count = task_facts(task.DESCRIPTOR).outputs
    single = count.HasField("single") and says(task, count.single.parameter, count.single.value)
    return single or count.fixed == 1


def _count(task: Message, num_targets: int, output: LossOutput) -> int:
    count = task_facts(task.DESCRIPTOR).outputs
    if has_one_output(task):
        return 1
    if output.embedding_size:
        return output.embedding_size
    return count.fixed or max(1, num_targets + count.beyond_targets) * output.per_target


def output_activation(spec: JobSpec) -> str:
    """Tell what the model's own last layer applies: ``none``, ``sigmoid`` or ``softmax``."""
    layer = last_layer(spec)
    return "none" if layer is None else layer[1]


def last_layer(spec: JobSpec) -> tuple[int, str] | None:
    """Give index and name of the layer by which a `sequential` ends in probabilities, if any."""
    last = _last_layer(spec)
    return last if last is not None and last[1] in ("sigmoid", "softmax") else None


def outputs_nonnegative(spec: JobSpec) -> bool:
    """Return whether a model's last layer has no negative outputs."""
    last = _last_layer(spec)
    return last is not None and last[1] in NONNEGATIVE_LAYERS


def _last_layer(spec: JobSpec) -> tuple[int, str] | None:
    """Return index and name of the last layer of a `sequential` that changes values."""
    if chosen(spec.model) != "sequential":
        return None
    layers = spec.model.sequential.layers
    for index in range(len(layers) - 1, -1, -1):
        name = chosen(layers[index])
        if name not in _TRANSPARENT_LAYERS:
            return index, name
    return None
