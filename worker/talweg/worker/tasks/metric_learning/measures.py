"""What the training split of labels, pairs or triplets tells of the choice of a loss."""

from collections.abc import Iterator

import numpy as np

from talweg.spec import Measured, examples_of
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.tasks_pb2 import MetricLearning
from talweg.worker.data import DataBundle
from talweg.worker.tasks.common.measures import small_batches


def measured(bundle: DataBundle, spec: JobSpec) -> Iterator[Measured]:
    """Tell what the training split says of the choice of a loss."""
    examples = examples_of(spec)
    if examples != MetricLearning.labels:
        name = MetricLearning.Given.Name(examples)
        text = f"{name} are given"
        if examples == MetricLearning.pairs:
            text += f", {float(bundle.train.arrays['same'].double().mean()):.1%} of them alike"
        yield Measured(text, "known", name)
        return
    counts = np.unique(bundle.train.y.numpy(), return_counts=True)[1]
    yield Measured(
        f"{len(counts)} classes to train on, of {counts.min()} to {counts.max()} samples",
        "num_classes", len(counts), ("known",),
    )  # fmt: skip
    yield from small_batches(bundle)
