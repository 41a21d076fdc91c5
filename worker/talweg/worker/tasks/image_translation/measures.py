"""What the training split of images and their targets tells of the choice of a loss."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from talweg.spec import Measured
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.data import DataBundle

Floats = NDArray[np.float64]


# A mean squared error that counts as 0: 100 dB.
_LEAST_ERROR = 1e-10


def measured(bundle: DataBundle, _: JobSpec) -> Iterator[Measured]:
    """Tell what the training split says of the choice of a loss."""
    x, image = (bundle.train.arrays[name].numpy() for name in ("x", "image"))
    yield Measured(
        f"targets of {' by '.join(map(str, image.shape[1:]))}, channels first, with pixels from "
        f"{image.min():.4g} to {image.max():.4g}"
    )
    if x.shape == image.shape:
        error = np.square(x.astype(np.float64) - image).mean(axis=(1, 2, 3))
        yield Measured(
            f"as it comes in, an image has a PSNR of {_psnr(error):.3g} dB"
            + ("" if error.any() else ": it is its target")
        )
    black = np.square(image, dtype=np.float64).mean(axis=(1, 2, 3))
    yield Measured(f"a black image has a PSNR of {_psnr(black):.3g} dB")


def _psnr(errors: Floats) -> float:
    """Give the mean over images of what their mean squared errors are in dB."""
    return float(-10 * np.log10(np.maximum(errors, _LEAST_ERROR)).mean())
