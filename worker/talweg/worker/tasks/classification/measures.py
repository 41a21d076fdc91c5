"""What the training split of classes or labels tells of the choice of a loss."""

from collections.abc import Iterator

import numpy as np

from talweg.spec import Measured
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.data import DataBundle
from talweg.worker.tasks.common.measures import class_counts, imbalance, ratio


def binary(bundle: DataBundle, _: JobSpec) -> Iterator[Measured]:
    """Tell what the training split says of the choice of a loss."""
    counts = np.bincount(bundle.train.y.numpy().astype(np.int64), minlength=2)
    yield from imbalance(counts, ("no", "yes"), "answer")


def multiclass(bundle: DataBundle, _: JobSpec) -> Iterator[Measured]:
    """Tell what the training split says of the choice of a loss."""
    yield Measured(f"{bundle.num_targets} classes", "num_classes", bundle.num_targets)
    yield from imbalance(class_counts(bundle), bundle.class_names, "class")


def multilabel(bundle: DataBundle, _: JobSpec) -> Iterator[Measured]:
    """Tell what the training split says of the choice of a loss."""
    y = bundle.train.y.numpy()
    shares = y.mean(axis=0)
    rarest = int(shares.argmin())
    yield Measured(
        f"{y.sum(axis=1).mean():.3g} of {y.shape[1]} labels a sample; the rarest "
        f"({bundle.class_names[rarest]}) in {shares[rarest]:.1%} of the samples"
    )
    yes = int(y.sum())
    no = y.size - yes
    if yes and no:
        yield Measured(
            f"{no} answers no, {yes} yes", "imbalance", ratio(max(no, yes), min(no, yes))
        )
