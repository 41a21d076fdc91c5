"""Images with masks: a folder images/, and a folder masks/ with a PNG or TIFF for each image."""

import io
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from PIL.TiffImagePlugin import TiffImageFile

from talweg.ingest.images.archive import Archive, Entry
from talweg.ingest.images.decode import DECODING_ERRORS, Shape, decode, shapes_of, undecoded
from talweg.ingest.images.layout import (
    BACKGROUND,
    CLASSES,
    IMAGES,
    by_place,
    class_names,
    is_image,
    lies_in,
    place_of,
    refuse_if_any,
    refuse_outside,
)
from talweg.ingest.images.reading import Reading, image_column, split_columns
from talweg.ingest.problems import MOST_PROBLEMS, Problem, Refused, names_text, quoted
from talweg.ingest.request import Column
from talweg.v1.datasets_pb2 import ReadOptions
from talweg.v1.stored_datasets_pb2 import DataColumn

MASKS = "masks"
"""The folder of the masks."""
_IGNORED = 255
# Where the header of a PNG has the bits of a value and, behind it, the kind of its colours.
_PNG_DEPTH = 24
_PNG_GRAY = 0
_TIFF_DEPTH = 258
_STRETCHED = {2: 85, 4: 17}
_WHITE = 255
_MOST_CLASSES = 256
_OF_NUMBERS = ("1", "L", "P", "I;16", "I;16B", "I;16L", "I")
_ALLOWED = "a grey PNG or TIFF, or one with a palette, whose values are the numbers of classes"
_NO_CLASS = "number the classes 0, 1, 2 and so on, or name another ignore_index"

Mask = np.ndarray[Any, np.dtype[np.uint8]]


def has_masks(entries: Sequence[Entry]) -> bool:
    """Return whether a folder is one of images with masks."""
    return any(lies_in(entry, MASKS) for entry in entries) and any(
        lies_in(entry, IMAGES) for entry in entries
    )


def read_with_masks(archive: Archive, options: ReadOptions, room: int) -> Reading:
    """Read images and their masks.

    Args:
        archive: The folder.
        options: Size, channels and ignored value; what was chosen is written into it.
        room: How many bytes images and masks may take.

    Raises:
        Refused: They cannot be stored; names files.
    """
    problems: list[Problem] = []
    images, masks = _images_and_masks(archive, problems)
    return read_pairs(archive, images, masks, options, room, problems)


def read_pairs(
    archive: Archive,
    images: Sequence[Entry],
    masks: Sequence[Entry | None],
    options: ReadOptions,
    room: int,
    problems: list[Problem],
) -> Reading:
    """Read images, and masks of which it is known whose they are.

    Args:
        archive: The folder.
        images: The images.
        masks: The mask of each; None where that is a problem already.
        options: Size, channels and ignored value; what was chosen is written into it.
        room: How many bytes images and masks may take.
        problems: What is wrong so far.

    Raises:
        Refused: They cannot be stored; names files.
    """
    names, of_names = class_names(archive)
    problems = [*of_names, *problems]
    if len(names) > _MOST_CLASSES:
        allowed = f"at most {_MOST_CLASSES}: masks are stored as bytes"
        problems.append(Problem(CLASSES, f"{len(names):,} classes", allowed))
    shapes, broken = shapes_of(archive, images)
    problems += broken
    ignored = options.ignore_index if options.HasField("ignore_index") else _IGNORED
    found = _look(archive, shapes, masks, problems)
    is_white = not options.HasField("ignore_index") and len(names) in (0, 2)
    is_white &= set(found) == {0, _WHITE}
    if names and not is_white:
        problems += _beyond(masks, found, len(names), ignored)
    if not images and not problems:
        problems.append(Problem(IMAGES, "no image", "images, and a mask for each in masks/"))
    refuse_if_any(problems)
    known = [shape for shape in shapes if shape is not None]
    pixels, notes = decode(archive, images, known, options, room)
    values = _stored_values(archive, masks, pixels.shape[2:], room - pixels.nbytes)
    is_ignored = False
    if is_white:
        values //= _WHITE
        notes.append("masks of 0 and 255: white is class 1")
        found = {0: [], 1: []}
    else:
        is_wanted = options.HasField("ignore_index") or ignored >= len(names)
        is_ignored = ignored in found and is_wanted
    if is_ignored:
        options.ignore_index = ignored
        notes.append(f"pixels of the value {ignored} have no class: losses and metrics omit them")
    used = sorted(value for value in found if not (is_ignored and value == ignored))
    if not used:
        found_text = f"the value {ignored} alone, which says that a pixel has no class"
        raise Refused(Problem("masks", found_text, "pixels that have a class", _NO_CLASS))
    if not names:
        names, about = _numbered(used)
        notes += about
    column = Column("mask", DataColumn.CATEGORY, values, names)
    column.ignored = ignored if is_ignored else None
    columns = [image_column(pixels), column]
    return Reading([*columns, *split_columns(images)], len(images), notes)


def _images_and_masks(
    archive: Archive, problems: list[Problem]
) -> tuple[list[Entry], list[Entry | None]]:
    """Return the images, and the mask of each; add what is beside them to the problems."""
    in_masks = [entry for entry in archive.entries if lies_in(entry, MASKS) and is_image(entry)]
    images = [entry for entry in archive.entries if is_image(entry) and not lies_in(entry, MASKS)]
    refuse_outside(images, MASKS, problems)
    images = [image for image in images if lies_in(image, IMAGES)]
    return images, _paired(images, in_masks, problems)


def _stored_values(
    archive: Archive, masks: Sequence[Entry | None], size: tuple[int, int], room: int
) -> Mask:
    """Return the values of masks, (N, height, width), in the size of their images.

    Raises:
        Refused: They need more bytes than there is room.
    """
    num_bytes = len(masks) * size[0] * size[1]
    if num_bytes > room:
        actual = f"{num_bytes:,} bytes of masks"
        hint = "say a smaller size by the option size: [height, width]"
        allowed = f"at most {max(room, 0):,} beside the images"
        raise Refused(Problem("images", actual, allowed, hint))
    values = np.empty((len(masks), *size), np.uint8)
    for index, mask in enumerate(masks):
        assert mask is not None
        values[index] = _resized(_values(archive.read(mask)), size)
    return values


def _paired(
    images: Sequence[Entry], masks: Sequence[Entry], problems: list[Problem]
) -> list[Entry | None]:
    """Return the mask of each image."""
    of_images = by_place(images, partial(place_of, folder=IMAGES), "image", problems)
    of_masks = by_place(masks, partial(place_of, folder=MASKS), "mask", problems)
    paired = [of_masks.get(place_of(image, IMAGES)) for image in images]
    bare = [image.name for image, mask in zip(images, paired, strict=True) if mask is None]
    if bare:
        problems.append(
            Problem(
                names_text(bare),
                f"{len(bare):,} images without a mask",
                f"a PNG or TIFF of the same name in {MASKS}/ for each image",
                "where nothing is to be seen, the mask is 0 everywhere",
            )
        )
    lost = [mask.name for place, mask in of_masks.items() if place not in of_images]
    if lost:
        problems.append(
            Problem(
                names_text(lost),
                f"{len(lost):,} masks without an image",
                f"an image of the same name in {IMAGES}/ for each mask",
            )
        )
    return paired


def _look(
    archive: Archive,
    shapes: Sequence[Shape | None],
    masks: Sequence[Entry | None],
    problems: list[Problem],
) -> dict[int, list[int]]:
    """Check each mask by itself; return for each value the first masks that have it."""
    found: dict[int, list[int]] = {}
    number = 0
    for index, (shape, mask) in enumerate(zip(shapes, masks, strict=True)):
        if mask is None or number == MOST_PROBLEMS:
            continue
        try:
            values = _values(archive.read(mask))
        except _NotClasses as exc:
            problems.append(Problem(quoted(mask.name), str(exc), _ALLOWED))
            number += 1
            continue
        except DECODING_ERRORS as exc:
            problems.append(undecoded(mask, exc, _ALLOWED))
            number += 1
            continue
        if shape is not None and values.shape != (shape.height, shape.width):
            height, width = values.shape
            problems.append(
                Problem(
                    quoted(mask.name),
                    f"a mask of {height}×{width} pixels (height×width)",
                    f"{shape.height}×{shape.width}, as its image",
                )
            )
            number += 1
        for value in np.flatnonzero(np.bincount(values.reshape(-1), minlength=256)).tolist():
            having = found.setdefault(value, [])
            if len(having) < MOST_PROBLEMS:
                having.append(index)
    return found


def _beyond(
    masks: Sequence[Entry | None], found: dict[int, list[int]], count: int, ignored: int
) -> list[Problem]:
    """Say which masks have values beyond the list of classes."""
    values: dict[int, list[int]] = {}
    for value, having in found.items():
        if value >= count and value != ignored:
            for index in having:
                values.setdefault(index, []).append(value)
    problems = []
    for index, beyond in sorted(values.items()):
        mask = masks[index]
        assert mask is not None
        listed = ", ".join(map(str, sorted(beyond)[:10])) + (" …" if len(beyond) > 10 else "")
        problems.append(
            Problem(
                quoted(mask.name),
                f"{'the value' if len(beyond) == 1 else 'the values'} {listed}",
                f"0 to {count - 1}, the lines of {CLASSES} counted from 0, or {ignored} for "
                "pixels without a class",
            )
        )
    return problems


def _numbered(used: Sequence[int]) -> tuple[list[str], list[str]]:
    """Return names for classes of which only the numbers are known, and what is odd of them."""
    count = max([*used, 1]) + 1
    names = [BACKGROUND, *(f"class {index}" for index in range(1, count))]
    notes = []
    if len(used) <= count // 2:
        listed = ", ".join(map(str, used[:10])) + (" …" if len(used) > 10 else "")
        notes.append(
            f"masks have the values {listed} alone, which makes {count} classes: number the "
            "classes 0, 1, 2 and so on"
        )
    return names, notes


class _NotClasses(Exception):
    """An image whose values are no numbers of classes."""


def _values(content: bytes) -> Mask:
    """Return a mask's numbers (H, W).

    Raises:
        _NotClasses: It is a picture in colours, or has numbers beyond bytes.
    """
    with Image.open(io.BytesIO(content), formats=("PNG", "TIFF")) as opened:
        if opened.mode not in _OF_NUMBERS:
            raise _NotClasses(f"an image with channels of colours ({opened.mode})")
        image: Image.Image = ImageOps.exif_transpose(opened)
        # Pillow stretches gray values of 2 and 4 bits over a byte.
        values = np.asarray(image) // _STRETCHED.get(_gray_bits(opened, content), 1)
    if values.dtype.itemsize > 1 and values.size and (values.min() < 0 or values.max() > 255):
        raise _NotClasses(f"values from {values.min()} to {values.max()}")
    return values.astype(np.uint8)


def _gray_bits(image: Image.Image, content: bytes) -> int:
    """Return the bits of the values of a gray image; 0 for another kind."""
    if isinstance(image, TiffImageFile):
        return int(image.tag_v2.get(_TIFF_DEPTH, (1,))[0]) if image.mode == "L" else 0
    header = content[_PNG_DEPTH : _PNG_DEPTH + 2]
    return header[0] if len(header) == 2 and header[1] == _PNG_GRAY else 0


def _resized(values: Mask, size: tuple[int, int]) -> Mask:
    if values.shape == size:
        return values
    image = Image.fromarray(values).resize((size[1], size[0]), Image.Resampling.NEAREST)
    return np.asarray(image)
