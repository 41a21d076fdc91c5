"""What the data of metric learning tell: labels, pairs or triplets; and in which arrays."""

from talweg.spec.semantics.dataset_facts import facts_of_chosen
from talweg.v1.options_pb2 import DatasetFacts
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.tasks_pb2 import MetricLearning

DEFAULT_ARRAYS = ("x", "y")
"""What a data set holds that names no arrays."""
LABEL = "y"
"""The class of a sample; of a pair or triplet that of its first."""

_INPUTS: dict[int, tuple[str, ...]] = {
    MetricLearning.labels: ("x",),
    MetricLearning.pairs: ("left", "right"),
    MetricLearning.triplets: ("anchor", "positive", "negative"),
}
_BESIDE: dict[int, tuple[str, ...]] = {
    MetricLearning.labels: (LABEL,),
    MetricLearning.pairs: ("same",),
    MetricLearning.triplets: (),
}


def examples_of(spec: JobSpec) -> MetricLearning.Given.ValueType:
    """Give what a job's data tell of which samples belong together; labels for other tasks."""
    return spec.task.metric_learning.given


def fill_examples(spec: JobSpec) -> None:
    """Say, where a job of metric learning does not, what its data set's arrays tell."""
    task = spec.task.metric_learning
    if spec.task.WhichOneof("kind") == "metric_learning" and not task.HasField("given"):
        arrays = arrays_of_dataset(spec)
        fitting = (
            examples for examples in MetricLearning.Given.values() if not lacking(examples, arrays)
        )
        task.given = next(fitting, MetricLearning.labels)


def arrays_of_examples(examples: int) -> tuple[str, ...]:
    """Give the arrays that hold labels, pairs or triplets, inputs first."""
    return (*_INPUTS[examples], *_BESIDE[examples])


def lacking(examples: int, arrays: tuple[str, ...]) -> tuple[str, ...]:
    """Give those of the arrays of labels, pairs or triplets that are not held."""
    return tuple(name for name in arrays_of_examples(examples) if name not in arrays)


def arrays_of_dataset(spec: JobSpec) -> tuple[str, ...]:
    """Give the arrays that a spec's data set holds; those of most where it names none."""
    facts = facts_of_chosen(spec.dataset)
    return DEFAULT_ARRAYS if facts is None else arrays_of_facts(facts)


def arrays_of_facts(facts: DatasetFacts) -> tuple[str, ...]:
    """Give the arrays that a data set holds."""
    return tuple(facts.arrays) or DEFAULT_ARRAYS


def inputs_of(spec: JobSpec) -> tuple[str, ...]:
    """Give the names of the arrays that the model takes, of those that the task reads: ("x",)."""
    return _INPUTS[examples_of(spec)]
