"""Boxes of objects in images, whatever file tells of them: checked, and as arrays."""

import math
from array import array
from collections.abc import Sequence

import numpy as np

from talweg.ingest.images.decode import Shape
from talweg.ingest.images.layout import BACKGROUND
from talweg.ingest.problems import MOST_PROBLEMS, Problem, Refused
from talweg.ingest.request import Column
from talweg.v1.stored_datasets_pb2 import DataColumn

# Coordinates are rounded by many a program: so far outside, in pixels, a box is cut off.
_TOLERANCE = 0.5
_SMALLEST = 0.01
_MOST_LOOKED_FOR = 20 * MOST_PROBLEMS
# What index 0 is called where a class is called background.
_NO_OBJECT = "no object"
_BYTES_OF_BOX = 4 * 4 + 8


class Boxes:
    """The boxes of a folder's images, in the images' own pixels."""

    def __init__(self, shapes: Sequence[Shape | None]) -> None:
        """Begin without boxes.

        Args:
            shapes: Of the images; None where one cannot be read.
        """
        self._shapes = shapes
        self._images = array("q")
        self._classes = array("q")
        self._corners = array("d")
        self.problems: list[Problem] = []
        """What is wrong with boxes."""
        self.num_cut = 0
        """Boxes that stood out of their image by a rounding error, and were cut off."""

    @property
    def is_full(self) -> bool:
        """Whether so much is wrong that there is no need to look on."""
        return len(self.problems) >= _MOST_LOOKED_FOR

    @property
    def cut_text(self) -> str:
        """What happened to these, for people."""
        return f"{self.num_cut:,} boxes stood out of their image by up to {_TOLERANCE} pixels: cut"

    def add(
        self, place: str, image: int, class_index: int, corner: Sequence[float], allowed: str
    ) -> None:
        """Take a box, or take note of what is wrong with it.

        Args:
            place: Where it stands.
            image: The image's index.
            class_index: From 1.
            corner: x, y of its upper left corner, width and height, in pixels.
            allowed: What the file's own numbers may be, for people.
        """
        shape = self._shapes[image]
        x, y, width, height = corner
        if not all(map(math.isfinite, corner)):
            self.problems.append(Problem(place, f"a box with {_text(corner)}", "finite numbers"))
            return
        if width <= 0 or height <= 0:
            found = f"a box of width {width:g} and height {height:g} pixels"
            self.problems.append(Problem(place, found, "a width and a height above 0"))
            return
        if shape is None:
            return
        x1, y1, x2, y2 = x, y, x + width, y + height
        out = max(-x1, -y1, x2 - shape.width, y2 - shape.height)
        if out > _TOLERANCE:
            self.problems.append(
                Problem(
                    place,
                    f"a box from ({x1:g}, {y1:g}) to ({x2:g}, {y2:g}) pixels, outside its image "
                    f"of width {shape.width} and height {shape.height}",
                    allowed,
                )
            )
            return
        self.num_cut += out > 0
        x1, x2 = max(x1, 0.0), min(x2, float(shape.width))
        y1, y2 = max(y1, 0.0), min(y2, float(shape.height))
        if x2 - x1 < _SMALLEST or y2 - y1 < _SMALLEST:
            found = f"a box of {x2 - x1:g}×{y2 - y1:g} pixels"
            self.problems.append(Problem(place, found, f"sides of at least {_SMALLEST} pixels"))
            return
        self._images.append(image)
        self._classes.append(class_index)
        self._corners.extend((x1, y1, x2, y2))

    def columns(self, names: Sequence[str], size: tuple[int, int], room: int) -> list[Column]:
        """Return boxes, classes and count, as detection reads them.

        Args:
            names: Of the classes from 1.
            size: Height and width that the images were brought to.
            room: How many bytes they may take.

        Raises:
            Refused: There is no box, or too many of them.
        """
        images = np.frombuffer(self._images, np.int64) if self._images else np.zeros(0, np.int64)
        if not images.size:
            raise Refused(Problem("boxes", "no box in any image", "at least one box"))
        count = np.bincount(images, minlength=len(self._shapes))
        most = int(count.max())
        total = len(count) * most * _BYTES_OF_BOX
        if total > room:
            raise Refused(
                Problem(
                    "boxes",
                    f"up to {most:,} boxes in an image: {total:,} bytes for {len(count):,} images",
                    f"at most {room:,}",
                    "leave out the images with very many boxes",
                )
            )
        order = np.argsort(images, kind="stable")
        starts = np.cumsum(count) - count
        images = images[order]
        place = np.arange(len(images)) - starts[images]
        scale = np.array(
            [[size[1] / s.width, size[0] / s.height] * 2 for s in self._shapes if s is not None]
        )
        corners = np.frombuffer(self._corners, np.float64).reshape(-1, 4)[order]
        boxes = np.zeros((len(count), most, 4), np.float32)
        boxes[images, place] = corners * scale[images]
        classes = np.zeros((len(count), most), np.int64)
        classes[images, place] = np.frombuffer(self._classes, np.int64)[order]
        no_object = BACKGROUND if BACKGROUND not in names else _NO_OBJECT
        of_classes = Column("classes", DataColumn.CATEGORY, classes, [no_object, *names])
        # Where there is no box, there is no background either.
        of_classes.padding = 0
        return [
            Column("boxes", DataColumn.NUMBER, boxes),
            of_classes,
            Column("count", DataColumn.INTEGER, count.astype(np.int64)),
        ]


def _text(numbers: Sequence[float]) -> str:
    return ", ".join(f"{number:g}" for number in numbers)
