"""What clients, server and workers agree on about predictions on a worker."""

from collections.abc import Mapping
from typing import Final

from talweg.v1.predictions_pb2 import PredictionTable

MAX_TABLE_BYTES: Final = 2**20
"""The largest table that is predicted for."""

MAX_PICTURES_BYTES: Final = 8 * 2**20
"""The most bytes of pictures that are predicted for."""

MAX_PREDICTIONS_BYTES: Final = 4_000_000
"""The largest table of predictions: by default, gRPC's clients take messages of 4 MiB."""

ENDINGS: Final[Mapping[int, str]] = {
    PredictionTable.CSV: ".csv",
    PredictionTable.TSV: ".tsv",
    PredictionTable.PARQUET: ".parquet",
    PredictionTable.NPZ: ".npz",
    PredictionTable.ZIP: ".zip",
}
"""The ending of a file of each format."""

ARRAY: Final = "prediction"
"""The name of the array that holds a model's output as it is."""


def most_bytes(format_: int) -> int:
    """Return how many bytes a request may have in a format."""
    return MAX_PICTURES_BYTES if format_ == PredictionTable.ZIP else MAX_TABLE_BYTES


def format_of(ending: str) -> PredictionTable.Format.ValueType:
    """Return the format of files with an ending.

    Args:
        ending: Such as `.csv`.

    Raises:
        ValueError: No format has this ending.
    """
    for number, known in ENDINGS.items():
        if known == ending.lower():
            return PredictionTable.Format.ValueType(number)
    allowed = ", ".join(ENDINGS.values())
    raise ValueError(f"the ending must be one of {allowed}, but got {ending or 'none'!r}")
