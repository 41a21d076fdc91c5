"""Pictures that a trained model predicts for, decoded as they are when data are uploaded.

The worker does not know the server's reader, talweg.ingest.images: a test holds both alike.
"""

import io
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from talweg.spec.stored.files import IMAGE_ENDINGS, images_below, is_junk

_ARCHIVE = ".zip"
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_OF_16_BITS = ("I;16", "I;16L", "I;16B", "I")
_OF_32_BITS = ("I", "F")
_MOST_NAMED = 10
_MOST_PIXELS = 100_000_000
_MOST_FILES = 10_000
# Of all files of an archive: some bytes can hold very many.
_MOST_UNPACKED = 512 * 2**20
# What Pillow and zipfile raise for files that are damaged or made to break them.
_DAMAGED = (
    OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError, OverflowError,
    ZeroDivisionError, NotImplementedError, RuntimeError, zlib.error, zipfile.BadZipFile,
    Image.DecompressionBombError, Image.DecompressionBombWarning,
)  # fmt: skip


@dataclass(frozen=True)
class Pictures:
    """Pictures, as a model takes them."""

    pixels: NDArray[np.uint8]
    """(N, C, H, W)."""
    names: Sequence[str]
    """Paths below the folder, or in the archive, in order; of a single one its name."""
    sizes: Sequence[tuple[int, int]]
    """Height and width of each before it was resized, with the camera's orientation applied."""


def are_images(path: Path) -> bool:
    """Return whether a path is a folder, or by its name a picture or an archive of pictures."""
    return path.is_dir() or path.suffix.lower() in (*IMAGE_ENDINGS, _ARCHIVE)


def read_images(path: Path, shape: Sequence[int]) -> Pictures:
    """Read a picture, or all of a folder and the folders in it, and bring them to one shape.

    Args:
        path: The picture, the folder, or a .zip archive of one.
        shape: (channels, height, width) of the model's inputs; pictures of another size are
            resized, bilinearly.

    Raises:
        ValueError: There are none or too many, some do not decode, or the model takes no pictures.
        OSError: The folder cannot be read.
    """
    if len(shape) != 3 or shape[0] not in _MODES:
        sizes = ", ".join(map(str, shape))
        raise ValueError(
            f"{path}: this model takes no pictures, but inputs of the shape ({sizes})"
        )
    pixels, names, read, broken = [], [], [], []
    for name, content in _files(path):
        try:
            if isinstance(content, Exception):
                raise content
            image = _decoded(content, _MODES[shape[0]])
            pixels.append(_resized(image, shape[1], shape[2]))
        except _DAMAGED as exc:
            reason = str(exc).partition(" <_io.")[0][:100] or type(exc).__name__
            broken.append(f"{name} does not decode ({reason})")
            if len(broken) == _MOST_NAMED:
                break
            continue
        names.append(name)
        read.append((image.height, image.width))
    if broken:
        raise ValueError(f"{path}: {'; '.join(broken)}")
    if not names:
        raise ValueError(f"{path} holds no pictures: they end in {', '.join(IMAGE_ENDINGS)}")
    return Pictures(np.stack(pixels), names, read)


def _files(path: Path) -> Iterator[tuple[str, bytes | Exception]]:
    """Yield names and contents of pictures, or why there is no content."""
    if path.suffix.lower() == _ARCHIVE and not path.is_dir():
        yield from _members(path)
        return
    files = [path]
    if path.is_dir():
        files = images_below(path)
    if len(files) > _MOST_FILES:
        raise ValueError(f"{path} holds {len(files):,} pictures, but at most {_MOST_FILES:,} are "
                         "predicted for at once")  # fmt: skip
    for file in files:
        name = file.relative_to(path).as_posix() if path.is_dir() else file.name
        try:
            yield name, file.read_bytes()
        except OSError as exc:
            if file is path:
                raise
            yield name, exc


def _members(path: Path) -> Iterator[tuple[str, bytes | Exception]]:
    """Yield the pictures of an archive; nothing of it is written to disk.

    Raises:
        ValueError: It is none, leads out of itself, or holds too much.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (*_DAMAGED, zipfile.LargeZipFile) as exc:
        if isinstance(exc, FileNotFoundError | PermissionError):
            raise
        raise ValueError(f"{path} cannot be read as zip: {exc}") from exc
    with archive:
        members = sorted(
            (each for each in archive.infolist() if _is_picture(each.filename)),
            key=lambda each: each.filename,
        )
        if len(members) > _MOST_FILES:
            raise ValueError(f"{path} holds {len(members):,} pictures, but at most "
                             f"{_MOST_FILES:,} are predicted for at once")  # fmt: skip
        counts = Counter(each.filename for each in members)
        if len(counts) < len(members):
            name, _ = counts.most_common(1)[0]
            raise ValueError(f"{path} holds {name} more than once: give each a name of its own")
        room = _MOST_UNPACKED
        for member in members:
            if ".." in PurePosixPath(member.filename).parts or member.filename.startswith("/"):
                raise ValueError(f"{path}: {member.filename} leads out of the archive")
            try:
                with archive.open(member) as file:
                    # What its header says may be wrong.
                    content = file.read(room + 1)
            except _DAMAGED as exc:
                yield member.filename, exc
                continue
            room -= len(content)
            if room < 0:
                raise ValueError(
                    f"{path}: its pictures have more than {_MOST_UNPACKED:,} bytes, unpacked: "
                    "send fewer at once"
                )
            yield member.filename, content


def _is_picture(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() in IMAGE_ENDINGS and not is_junk(path.parts)


def _decoded(content: bytes, mode: str) -> Image.Image:
    with Image.open(io.BytesIO(content), formats=_FORMATS) as opened:
        if opened.width * opened.height > _MOST_PIXELS:
            raise ValueError(f"more than {_MOST_PIXELS:,} pixels")
        if opened.format == "TIFF" and opened.mode in _OF_32_BITS:
            raise ValueError("32 or signed 16 bits a pixel, where 8 or 16 without a sign are read")
        # Of a GIF that moves, and of a TIFF of several pages, the first picture.
        image: Image.Image = ImageOps.exif_transpose(opened)
        if image.mode in _OF_16_BITS:
            image = Image.fromarray((np.asarray(image).clip(0, 65535) // 256).astype(np.uint8))
        if image.mode == "P" and mode != "L":
            image = image.convert("RGBA" if "transparency" in image.info else "RGB")
        return image.convert(mode)


def _resized(image: Image.Image, height: int, width: int) -> NDArray[Any]:
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    pixels = np.asarray(image)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
