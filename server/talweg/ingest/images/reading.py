"""What reading a folder of images gives."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from talweg.ingest.images.archive import Entry
from talweg.ingest.images.layout import IMAGES, folders_of, parts_of
from talweg.ingest.request import Column
from talweg.v1.stored_datasets_pb2 import DataColumn


@dataclass
class Reading:
    """What was read of a folder."""

    columns: list[Column]
    """The images, and what belongs to each."""
    num_images: int
    """How many images there are."""
    notes: list[str] = field(default_factory=list)
    """What was changed or chosen, for people."""


def image_column(pixels: np.ndarray[Any, Any]) -> Column:
    """Return the column of images (N, C, H, W)."""
    return Column("image", DataColumn.INTEGER, pixels)


def coded(name: str, texts: Sequence[str]) -> Column:
    """Return a column of categories with few distinct texts."""
    values, codes = np.unique(np.array(texts), return_inverse=True)
    return Column(name, DataColumn.CATEGORY, codes.astype(np.int64), [str(v) for v in values])


def split_columns(images: Sequence[Entry]) -> list[Column]:
    """Return a column with the part of each image, where the folders at the top tell several."""
    parts = parts_of([[name for name in folders_of(image) if name != IMAGES] for image in images])
    return [coded("split", parts)] if parts else []
