"""What the data of metric learning tell: labels, pairs or triplets; and in which arrays."""

from talweg.v1 import options_pb2
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


def given_of(spec: JobSpec) -> MetricLearning.Given.ValueType:
    """Give what a job's data tell of which samples belong together; labels for other tasks."""
    return spec.task.metric_learning.given


def fill_given(spec: JobSpec) -> None:
    """Say, where a job of metric learning does not, what its data set's arrays tell."""
    task = spec.task.metric_learning
    if spec.task.WhichOneof("kind") == "metric_learning" and not task.HasField("given"):
        held = arrays_held(spec)
        fitting = (given for given in MetricLearning.Given.values() if not lacking(given, held))
        task.given = next(fitting, MetricLearning.labels)


def arrays_of_given(given: int) -> tuple[str, ...]:
    """Give the arrays that hold labels, pairs or triplets, inputs first."""
    return (*_INPUTS[given], *_BESIDE[given])


def lacking(given: int, held: tuple[str, ...]) -> tuple[str, ...]:
    """Give those of the arrays of labels, pairs or triplets that are not held."""
    return tuple(name for name in arrays_of_given(given) if name not in held)


def arrays_held(spec: JobSpec) -> tuple[str, ...]:
    """Give the arrays that a spec's data set holds; those of most where it names none."""
    name = spec.dataset.WhichOneof("kind")
    if name is None:
        return DEFAULT_ARRAYS
    return arrays_of_facts(
        getattr(spec.dataset, name).DESCRIPTOR.GetOptions().Extensions[options_pb2.dataset]
    )


def arrays_of_facts(facts: DatasetFacts) -> tuple[str, ...]:
    """Give the arrays that a data set holds."""
    return tuple(facts.arrays) or DEFAULT_ARRAYS


def inputs_of(spec: JobSpec) -> tuple[str, ...]:
    """Give the names of the arrays that the model takes, of those that the task reads: ("x",)."""
    return _INPUTS[given_of(spec)]
