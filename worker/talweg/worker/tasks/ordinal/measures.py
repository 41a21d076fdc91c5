"""What the training split of ranks tells of the choice of a loss."""

from collections.abc import Iterator

from talweg.spec import Measured
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.data import DataBundle
from talweg.worker.tasks.common.measures import class_counts, imbalance


def measured(bundle: DataBundle, _: JobSpec) -> Iterator[Measured]:
    """Tell what the training split says of the choice of a loss."""
    yield Measured(f"{bundle.num_targets} ranks")
    yield from imbalance(class_counts(bundle), bundle.class_names, "rank")
