"""Decodes images, and brings them to one size and one number of channels."""

import io
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from talweg.ingest.images.archive import Archive, Entry
from talweg.ingest.problems import MOST_PROBLEMS, Problem, Refused, quoted
from talweg.v1.datasets_pb2 import ReadOptions

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
_MOST_PIXELS = 100_000_000
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_CHANNELS = {"1": 1, "L": 1, "I;16": 1, "I;16L": 1, "I;16B": 1, "I": 1, "F": 1, "RGBA": 4, "LA": 4}
_OF_16_BITS = ("I;16", "I;16L", "I;16B", "I")
# Of images in 16 bits, which cameras fill to 12 or 14, so few are mostly a mistake.
_FEW_LEVELS = 16
_OF_32_BITS = ("I", "F")
# Turned by a quarter.
_ORIENTATION, _ON_ITS_SIDE = 0x0112, (5, 6, 7, 8)


@dataclass(frozen=True)
class Shape:
    """What an image's header says."""

    height: int
    width: int
    channels: int
    is_deep: bool = False
    """Whether it has 16 bits a pixel, of which 8 are kept."""


def decode(
    archive: Archive,
    images: Sequence[Entry],
    shapes: Sequence[Shape],
    options: ReadOptions,
    room: int,
) -> tuple[np.ndarray[Any, Any], list[str]]:
    """Decode all images into one array, (N, C, H, W) of bytes.

    Args:
        archive: Where they are.
        images: Which.
        shapes: What their headers say; see `shapes_of`.
        options: Size and channels; what was chosen is written into it.
        room: How many bytes they may take.

    Returns:
        The array, and what was changed, for people.

    Raises:
        Refused: Some do not decode, or their sizes differ and no size was said; names the files.
    """
    notes = []
    channels = options.channels
    if channels not in (0, *_MODES):
        raise Refused(Problem("options.channels", str(channels), "1 (grey), 3 (colour) or 4"))
    if not channels:
        kinds = Counter(shape.channels for shape in shapes)
        channels = next(iter(kinds)) if len(kinds) == 1 else 3
        if len(kinds) > 1:
            listed = ", ".join(f"{number:,} of {c}" for c, number in sorted(kinds.items()))
            notes.append(f"images with different channels ({listed}): all were brought to colour")
    height, width = _size(images, shapes, options)
    options.channels = channels
    options.size[:] = (height, width)
    total = len(images) * channels * height * width
    if total > room:
        raise Refused(
            Problem(
                "images",
                f"{len(images):,} images of {height}×{width} pixels: {total:,} bytes",
                f"at most {room:,}",
                "say a smaller size by the option size: [height, width]",
            )
        )
    pixels = np.empty((len(images), channels, height, width), np.uint8)
    problems = []
    for index, entry in enumerate(images):
        try:
            pixels[index] = _pixels(archive.read(entry), _MODES[channels], height, width)
        except DECODING_ERRORS as exc:
            problems.append(undecoded(entry, exc))
            if len(problems) == MOST_PROBLEMS:
                break
    if problems:
        raise Refused(*problems)
    if any((shape.height, shape.width) != (height, width) for shape in shapes):
        notes.append(f"images were resized to {height}×{width} pixels")
    return pixels, [*notes, *_dark(pixels, shapes)]


def _dark(pixels: np.ndarray[Any, Any], shapes: Sequence[Shape]) -> list[str]:
    """Say that images in 16 bits have lost most of their levels; nothing where they have not."""
    deep = [index for index, shape in enumerate(shapes) if shape.is_deep]
    brightest = max((int(pixels[index].max()) for index in deep), default=_FEW_LEVELS)
    if brightest >= _FEW_LEVELS:
        return []
    return [
        f"16 bits became 8 by dividing by 256, and {brightest + 1} of 256 levels are left in "
        f"{len(deep):,} images: stretch their values to the whole range before the upload"
    ]


DECODING_ERRORS = (
    OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError, OverflowError,
    ZeroDivisionError, Image.DecompressionBombError, Image.DecompressionBombWarning,
)  # fmt: skip
"""What Pillow raises for files that are damaged or made to break it."""


def shapes_of(
    archive: Archive, images: Sequence[Entry]
) -> tuple[list[Shape | None], list[Problem]]:
    """Return what the headers of images say, and what is wrong with those that have none.

    Args:
        archive: Where they are.
        images: Which.

    Returns:
        Of each image its shape, None where it cannot be read; and the problems. What is beyond the
        most that are told is not looked at.
    """
    limit_pixels()
    shapes: list[Shape | None] = []
    problems: list[Problem] = []
    for entry in images:
        shape = None
        if len(problems) < MOST_PROBLEMS:
            try:
                shape = _shape(archive.read(entry))
            except DECODING_ERRORS as exc:
                problems.append(undecoded(entry, exc))
        shapes.append(shape)
    return shapes, problems


def limit_pixels() -> None:
    """Have Pillow refuse images of too many pixels before it decodes them."""
    Image.MAX_IMAGE_PIXELS = _MOST_PIXELS
    warnings.simplefilter("error", Image.DecompressionBombWarning)


def _shape(content: bytes) -> Shape:
    with Image.open(io.BytesIO(content), formats=FORMATS) as image:
        width, height = image.size
        if image.getexif().get(_ORIENTATION) in _ON_ITS_SIDE:
            width, height = height, width
        channels = _CHANNELS.get(image.mode, 3)
        if image.mode == "P" and "transparency" in image.info:
            channels = 4
        return Shape(height, width, channels, image.mode in _OF_16_BITS)


def undecoded(
    entry: Entry, error: BaseException, allowed: str = "PNG, JPEG, WebP, BMP, GIF or TIFF"
) -> Problem:
    """Say that an image does not decode, and why."""
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        found = f"more than {_MOST_PIXELS:,} pixels"
        return Problem(quoted(entry.name), found, f"images of at most {_MOST_PIXELS:,} pixels")
    # Its words name an object in memory.
    reason = str(error).partition(" <_io.")[0][:100] or type(error).__name__
    return Problem(
        quoted(entry.name),
        f"an image that does not decode ({reason})",
        allowed,
        "remove the file, or save it again",
    )


def _size(
    images: Sequence[Entry], shapes: Sequence[Shape], options: ReadOptions
) -> tuple[int, int]:
    if options.size:
        sides = list(options.size)
        return (sides[0], sides[-1])
    sizes = Counter((shape.height, shape.width) for shape in shapes)
    if len(sizes) == 1:
        return next(iter(sizes))
    usual = sizes.most_common(1)[0][0]
    others = [
        f"{quoted(entry.name)} {shape.height}×{shape.width}"
        for entry, shape in zip(images, shapes, strict=True)
        if (shape.height, shape.width) != usual
    ]
    listed = ", ".join(others[:10]) + (" …" if len(others) > 10 else "")
    raise Refused(
        Problem(
            "images",
            f"{len(sizes):,} sizes; most are {usual[0]}×{usual[1]}, but not {listed}",
            "images of one size (height×width)",
            f"say a size that all are brought to: size: [{usual[0]}, {usual[1]}]",
        )
    )


def _pixels(content: bytes, mode: str, height: int, width: int) -> np.ndarray[Any, Any]:
    with Image.open(io.BytesIO(content), formats=FORMATS) as opened:
        if opened.format == "TIFF" and opened.mode in _OF_32_BITS:
            raise ValueError("32 or signed 16 bits a pixel, where 8 or 16 without a sign are read")
        # Of a GIF that moves, and of a TIFF of several pages, the first picture.
        image: Image.Image = ImageOps.exif_transpose(opened)
        if image.mode in _OF_16_BITS:
            image = Image.fromarray((np.asarray(image).clip(0, 65535) // 256).astype(np.uint8))
        if image.mode == "P" and mode != "L":
            image = image.convert("RGBA" if "transparency" in image.info else "RGB")
        image = image.convert(mode)
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        array = np.asarray(image)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
