"""Pictures that a trained model predicts for, decoded as they are when data are uploaded.

The worker does not know the server's reader, talweg.ingest.images: a test holds both alike.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
"""What the names of pictures end in."""
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_OF_16_BITS = ("I;16", "I;16L", "I;16B", "I")
_OF_32_BITS = ("I", "F")
_MOST_NAMED = 10
# What Pillow raises for files that are damaged or made to break it.
_DAMAGED = (
    OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError, OverflowError,
    ZeroDivisionError, Image.DecompressionBombError,
)  # fmt: skip


def are_images(path: Path) -> bool:
    """Return whether a path is a folder, or a file that is a picture by its name."""
    return path.is_dir() or path.suffix.lower() in ENDINGS


def read_images(path: Path, shape: Sequence[int]) -> tuple[NDArray[np.uint8], list[str]]:
    """Read a picture, or all of a folder and the folders in it, and bring them to one shape.

    Args:
        path: The picture or the folder.
        shape: (channels, height, width) of the model's inputs; pictures of another size are
            resized, bilinearly.

    Returns:
        The pictures (N, C, H, W), and their names: paths below the folder, in order.

    Raises:
        ValueError: There are none, some do not decode, or the model takes no pictures.
        OSError: The folder cannot be read.
    """
    if len(shape) != 3 or shape[0] not in _MODES:
        sizes = ", ".join(map(str, shape))
        raise ValueError(
            f"{path}: this model takes no pictures, but inputs of the shape ({sizes})"
        )
    files = [path]
    if path.is_dir():
        files = sorted(each for each in path.rglob("*") if each.suffix.lower() in ENDINGS)
    if not files:
        raise ValueError(f"{path} holds no pictures: they end in {', '.join(ENDINGS)}")
    names = [file.relative_to(path).as_posix() if path.is_dir() else file.name for file in files]
    pixels = np.empty((len(files), *shape), np.uint8)
    broken = []
    for index, (file, name) in enumerate(zip(files, names, strict=True)):
        try:
            pixels[index] = _pixels(file, *shape)
        except _DAMAGED as exc:
            reason = str(exc).partition(" <_io.")[0][:100] or type(exc).__name__
            broken.append(f"{name} does not decode ({reason})")
            if len(broken) == _MOST_NAMED:
                break
    if broken:
        raise ValueError(f"{path}: {'; '.join(broken)}")
    return pixels, names


def _pixels(file: Path, channels: int, height: int, width: int) -> NDArray[Any]:
    mode = _MODES[channels]
    with Image.open(file, formats=_FORMATS) as opened:
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
        pixels = np.asarray(image)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
