"""What the training split of several heads tells of the choice of a loss."""

from collections.abc import Iterator

from talweg.spec import Measured, heads
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.data import DataBundle


def measured(_: DataBundle, spec: JobSpec) -> Iterator[Measured]:
    """Tell what the training split says of the choice of a loss."""
    kinds = [
        (head.name, "classification" if head.of_classes else "regression") for head in heads(spec)
    ]
    yield Measured(
        ", ".join(f"{name} is a {kind}" for name, kind in kinds),
        "task_types", [kind for _, kind in kinds],
    )  # fmt: skip
