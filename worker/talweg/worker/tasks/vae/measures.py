"""What the training split of samples tells of the choice of a loss."""

from collections.abc import Iterator

import numpy as np

from talweg.spec import Measured
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.data import DataBundle

# Fractions: at least so many of the inputs lie so near to 0 or 1.
_MOSTLY = 0.5
_NEAR_EITHER = 0.1


def measured(bundle: DataBundle, _: JobSpec) -> Iterator[Measured]:
    """Tell what the training split says of the choice of a loss."""
    x = bundle.train.x.numpy()
    low, high = x.min(), x.max()
    near = float(np.mean((x <= _NEAR_EITHER) | (x >= 1 - _NEAR_EITHER)))
    text = f"inputs from {low:.4g} to {high:.4g}"
    if low < 0 or high > 1:
        yield Measured(text, "inputs", "values")
    else:
        yield Measured(
            f"{text}, {near:.0%} of them within {_NEAR_EITHER} of 0 or 1",
            "inputs", "fractions" if near >= _MOSTLY else "values",
        )  # fmt: skip
