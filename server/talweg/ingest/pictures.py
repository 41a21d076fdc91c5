"""The first images of a data set, for people."""

import io
from typing import Any

import numpy as np
from PIL import Image

from talweg.ingest.request import Content

_MOST = 16
_LARGEST_SIDE = 128
_CHANNELS = (1, 3, 4)


def pictures(content: Content) -> list[bytes]:
    """Return the first images as PNG; none where there is no array of images."""
    if content.is_table:
        return []
    for column in content.columns:
        shape = column.values.shape
        if len(shape) == 4 and shape[1] in _CHANNELS and min(shape[2:]) > 1:
            return [_png(sample) for sample in column.values[:_MOST]]
    return []


def _png(sample: np.ndarray[Any, Any]) -> bytes:
    """Draw a sample of shape (channels, height, width)."""
    pixels = sample
    if pixels.dtype != np.uint8:
        # From the smallest value to the largest, as their meaning is not known.
        numbers = np.nan_to_num(pixels.astype(np.float64), posinf=0.0, neginf=0.0)
        low, high = numbers.min(), numbers.max()
        pixels = ((numbers - low) / max(high - low, 1e-12) * 255).astype(np.uint8)
    pixels = pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((_LARGEST_SIDE, _LARGEST_SIDE))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
