"""The column of weights by which samples are drawn."""

from collections.abc import Iterator

from talweg.spec.errors import Violation, shown
from talweg.spec.stored.wording import AT, NUMBERS, complete, type_text
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.stored_datasets_pb2 import DataColumn

_ALLOWED = "a column of numbers from 0, not all of them 0"


def name_weights(spec: JobSpec) -> None:
    """Say in place, in the sampling and in the data's roles alike, which column has the weights.

    It stands among the roles so that it is no input.
    """
    sampling = spec.training.sampling
    if sampling.WhichOneof("kind") != "weighted" or spec.dataset.WhichOneof("kind") != "stored":
        return
    stored, weighted = spec.dataset.stored, sampling.weighted
    if weighted.column and not stored.weight:
        stored.weight = weighted.column
    elif stored.weight and not weighted.column:
        weighted.column = stored.weight


def check_weights(column: DataColumn) -> Iterator[Violation]:
    """Check that a column tells of each sample how often it is to be drawn."""
    at = f"{AT}.weight"
    if column.shape or column.type not in NUMBERS:
        yield Violation(at, f"{shown(column.name)}, which holds {type_text(column)}", _ALLOWED)
        return
    yield from complete(at, column)
    if column.min < 0 or column.max <= 0:
        yield Violation(at, f"{type_text(column)} in {shown(column.name)}", _ALLOWED)
