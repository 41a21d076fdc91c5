"""What the training split of objects tells of the choice of a loss."""

import math
from collections.abc import Iterator

import numpy as np

from talweg.spec import Measured
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.data import DataBundle

# Share of its image that half of the objects are below where they are small, and how many times
# the shorter side the longer one is where half of the boxes are long or flat.
_SMALL = 0.01
_LONG = 2.0


def measured(bundle: DataBundle, _: JobSpec) -> Iterator[Measured]:
    """Tell what the training split says of the choice of a loss."""
    arrays = {name: array.numpy() for name, array in bundle.train.arrays.items()}
    present = np.arange(arrays["classes"].shape[1]) < arrays["count"][:, None]
    boxes = arrays["boxes"][present]
    if not len(boxes):
        yield Measured("no training image holds an object")
        return
    width, height = (boxes[:, 2:] - boxes[:, :2]).T
    share = float(np.median(width * height) / math.prod(bundle.inputs.shape[1:]))
    longer = float(np.median(np.maximum(width, height) / np.minimum(width, height)))
    yield Measured(f"{len(boxes) / len(present):.3g} objects an image")
    text = f"half of the objects cover {share:.2%} of their image or less"
    yield Measured(text, *(("small_objects", True) if share < _SMALL else ()))
    text = f"the longer side of half of the boxes is {longer:.3g} times the shorter or more"
    yield Measured(text, *(("elongated", True) if longer >= _LONG else ()))
