"""What the catalogue, or for stored data the server, says of a data set."""

import functools

from google.protobuf.descriptor import Descriptor

from talweg.v1 import options_pb2
from talweg.v1.datasets_pb2 import Dataset
from talweg.v1.options_pb2 import DatasetFacts


@functools.cache
def dataset_facts(message: Descriptor) -> DatasetFacts:
    """Give the catalogue's facts about a data set's message."""
    return message.GetOptions().Extensions[options_pb2.dataset]


_MOST_SAMPLES = 2**32 - 1
# Data whose facts stand in the spec.
_LOOKED_UP = ("stored", "plugin")


def facts_of_chosen(dataset: Dataset) -> DatasetFacts | None:
    """Give the facts about the chosen data set; None where none is chosen.

    Of stored data they are what the server has found out for the job, of a plug-in's what the
    worker has; or, before somebody has looked, what the catalogue says of all such data: without
    sizes, shapes and classes.
    """
    name = dataset.WhichOneof("kind")
    if name is None:
        return None
    facts = dataset_facts(getattr(dataset, name).DESCRIPTOR)
    if name not in _LOOKED_UP or not is_looked_up(dataset):
        return facts
    about = getattr(dataset, name).facts
    return DatasetFacts(
        tasks=facts.tasks,
        # Of a message that somebody made by hand it may be anything.
        num_samples=min(about.num_samples, _MOST_SAMPLES),
        shape=about.shape,
        num_classes=about.num_classes,
        num_targets=about.num_targets,
        description=facts.description,
        arrays=about.arrays,
        negative_targets=about.negative_targets,
        in_unit_range=about.in_unit_range,
        smallest_class=min(about.smallest_class, _MOST_SAMPLES),
        num_groups=min(about.num_groups, _MOST_SAMPLES),
        num_categories=about.num_categories,
    )


def is_looked_up(dataset: Dataset) -> bool:
    """Tell whether sizes and shapes are known.

    Of stored data they are once the server has looked, and of a plug-in's once the worker has.
    """
    name = dataset.WhichOneof("kind")
    if name in _LOOKED_UP:
        return bool(getattr(dataset, name).HasField("facts"))
    return name not in ("file", "uri")
