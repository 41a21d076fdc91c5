"""Rules of the tasks whose model gives embeddings."""

from collections.abc import Iterator

from talweg.spec.errors import Violation, one_of
from talweg.spec.rules.data.folds import fold_rules
from talweg.spec.rules.loss import facts_of, losses_of
from talweg.spec.rules.models.layers import LONE_HINT
from talweg.spec.rules.training.settings import lone_batch
from talweg.spec.semantics.context import SpecContext
from talweg.spec.semantics.dataset import split_sizes
from talweg.spec.semantics.facts import chosen, model_facts
from talweg.spec.semantics.outputs import output_of_member
from talweg.spec.semantics.pairs_triplets import (
    arrays_of_dataset,
    arrays_of_examples,
    examples_of,
    lacking,
)
from talweg.v1 import options_pb2
from talweg.v1.options_pb2 import LossFacts
from talweg.v1.tasks_pb2 import MetricLearning


def embedding_rules(case: SpecContext) -> Iterator[Violation]:
    """Check embedder, batches and the division of classes."""
    if chosen(case.spec.model) == "embedder" and case.sound("model"):
        yield from _trunk(case)
    if case.task == options_pb2.METRIC_LEARNING:
        yield from _sizes(case)
        yield from _turned(case)
        yield from _given(case)
        if examples_of(case.spec) == MetricLearning.labels:
            yield from _batches(case)
            yield from _classes(case)
    if case.task == options_pb2.SELF_SUPERVISED:
        yield from _alone(case)


def _trunk(case: SpecContext) -> Iterator[Violation]:
    trunk, name = case.spec.model.embedder.trunk, chosen(case.spec.model.embedder.trunk)
    of_images = bool(name) and model_facts(getattr(trunk, name).DESCRIPTOR).images
    if of_images and case.data is not None and len(case.data.shape) != 3:
        yield Violation(
            "model.embedder.trunk",
            f"{name} on {case.data.name}, whose inputs are vectors",
            "a backbone for vectors",
            "write trunk: mlp",
        )


def _sizes(case: SpecContext) -> Iterator[Violation]:
    """Check that losses with a vector a class take vectors as long as the embedder's."""
    if chosen(case.spec.model) != "embedder" or not case.sound("model"):
        return
    size = case.spec.model.embedder.size
    for leaf in case.fitting:
        own = output_of_member(leaf.message).embedding_size
        if own and own != size:
            yield Violation(
                f"{leaf.member}.embedding_size", str(own), f"{size}, the size of model.embedder"
            )


def _batches(case: SpecContext) -> Iterator[Violation]:
    if not (case.sound("training") and case.sound("task")):
        return
    size, together = (
        case.spec.training.batch_size,
        case.spec.task.metric_learning.samples_per_class,
    )
    if size % together or size < 2 * together:
        yield Violation(
            "training.batch_size",
            f"{size} with samples_per_class {together}",
            f"a multiple of {together}, and at least {2 * together}, so that a batch holds "
            "several classes",
        )


def _classes(case: SpecContext) -> Iterator[Violation]:
    data, split = case.data, case.spec.split
    if data is None or not data.num_classes or not case.sound("split"):
        return
    if any(fold_rules(case)):
        return
    shares = (split.train, split.validation, split.test)
    sizes = split_sizes(split, data.num_classes)
    for name, share, size in zip(("train", "validation", "test"), shares, sizes, strict=True):
        if share > 0 and size < 2:
            yield Violation(
                f"split.{name}",
                f"{size} of the {data.num_classes} classes of {data.name}",
                "a fraction of at least 2 classes" + ("" if name == "train" else ", or 0"),
                "under metric_learning the classes are split, not the samples",
            )


def _turned(case: SpecContext) -> Iterator[Violation]:
    data, examples = case.data, examples_of(case.spec)
    if data is None or not case.spec.task.metric_learning.turned_classes:
        return
    if examples != MetricLearning.labels:
        yield Violation(
            "task.metric_learning.turned_classes",
            f"true with given {MetricLearning.Given.Name(examples)}",
            "false, since only given: labels has classes",
            "leave it out",
        )
    if len(data.shape) != 3 or data.shape[1] != data.shape[2]:
        yield Violation(
            "task.metric_learning.turned_classes",
            f"true on {data.name}, whose inputs are no square images",
            "false, or a data set of square images",
            "leave it out",
        )


def _given(case: SpecContext) -> Iterator[Violation]:
    """Check that data and losses take what is given: labels, pairs or triplets."""
    examples = examples_of(case.spec)
    name = MetricLearning.Given.Name(examples)
    arrays = arrays_of_dataset(case.spec)
    if case.data is not None and lacking(examples, arrays):
        fitting = [
            other for other, number in MetricLearning.Given.items() if not lacking(number, arrays)
        ]
        yield Violation(
            "task.metric_learning.given",
            f"{name} on {case.data.name}, which holds {', '.join(arrays)}",
            one_of(fitting) if fitting else "a data set of labels, pairs or triplets",
            f"given {name} is read from {', '.join(arrays_of_examples(examples))}",
        )
    for leaf in case.fitting:
        taken = _taken(leaf.facts)
        if name not in taken:
            fitting = [loss for loss in losses_of(case.task) if name in _taken(facts_of(loss))]
            yield Violation(
                leaf.path,
                f"{leaf.name} with given {name}",
                one_of(fitting),
                f"{leaf.name} takes {' or '.join(taken)}",
            )


def _taken(facts: LossFacts) -> tuple[str, ...]:
    """Name what a loss takes: labels, and the pairs or triplets that data may give instead."""
    labels = MetricLearning.Given.Name(MetricLearning.labels)
    return (labels, facts.groups) if facts.groups else (labels,)


def _alone(case: SpecContext) -> Iterator[Violation]:
    lone = lone_batch(case)
    if lone:
        yield Violation(
            "training.batch_size",
            lone,
            "batches of at least 2 samples, since the loss compares them",
            LONE_HINT,
        )
