"""Folders of images from what packages ship, as `talweg data add` reads them."""

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[Any]

_TILE = 64
_TREE_TILE = 128
# A photo is cut into parts from left to right, so that neighbours are in one part.
_SHARES = (("train", 0.6), ("val", 0.75), ("test", 1.0))
_FEW = 10


@dataclass(frozen=True)
class Prepared:
    """A folder of images, and what the study knows of its test data."""

    folder: Path
    images: Array
    """Some of its images (N, C, H, W), bytes; all of its test data where the folder has parts."""
    masks: Array | None = None
    """The masks of these images (N, H, W)."""


def emoji(packages: Path, to: Path) -> Prepared:
    """Write the pictures of emoji as CATEGORY/NAME.png, as they are in the package.

    Some are RGBA and some have a palette with transparency; names of categories have spaces and
    `&`. Variants by skin tone are left out, since they would be almost the same in all parts.
    """
    package = packages / "package"
    known = json.loads((package / "emoji.json").read_text(encoding="utf-8"))
    shown: list[Array] = []
    for each in known:
        picture = package / "img/twitter/64" / each["image"]
        if not each["has_img_twitter"] or each["category"] == "Skin Tones":
            continue
        target = to / "emoji" / each["category"] / each["image"]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(picture.read_bytes())
        if len(shown) < _FEW:
            small = Image.open(picture).convert("RGBA").resize((32, 32), Image.Resampling.BILINEAR)
            shown.append(np.asarray(small).transpose(2, 0, 1))
    return Prepared(to / "emoji", np.stack(shown))


def nuclei(packages: Path, to: Path) -> Prepared:
    """Cut a micrograph of nuclei and its masks into tiles of 64×64 pixels."""
    shipped = packages / "stardist/data/images"
    image = np.array(Image.open(shipped / "img2d.tif")).clip(0, 255).astype(np.uint8)
    mask = (np.array(Image.open(shipped / "mask2d.tif")) > 0).astype(np.uint8)
    images, masks = [], []
    for part, x, y in _tiles(image.shape, _TILE):
        here = np.s_[y : y + _TILE, x : x + _TILE]
        for folder, pixels in (("images", image), ("masks", mask)):
            _write(pixels[here], to / "nuclei" / folder / part / f"{y}-{x}.png")
        if part == "test":
            images.append(image[here][None])
            masks.append(mask[here])
    (to / "nuclei" / "classes.txt").write_text("background\nnucleus\n", encoding="utf-8")
    return Prepared(to / "nuclei", np.stack(images), np.stack(masks))


def trees(packages: Path, to: Path) -> Prepared:
    """Cut aerial photos with boxes around tree crowns into tiles of 128×128 pixels, as COCO."""
    images: list[dict[str, Any]] = []
    boxes: list[dict[str, Any]] = []
    shown: list[Array] = []
    for file in sorted((packages / "deepforest/data").glob("*.xml")):
        photo = np.asarray(Image.open(file.with_suffix(".png")).convert("RGB"))
        corners = _voc(file)
        for part, x, y in _tiles(photo.shape, _TREE_TILE):
            tile = photo[y : y + _TREE_TILE, x : x + _TREE_TILE]
            inside = list(_within(corners, x, y))
            if not inside:
                continue
            name = f"{part}/{file.stem}-{y}-{x}.png"
            _write(tile, to / "trees/images" / name)
            number = len(images) + 1
            images.append(
                {"id": number, "file_name": name, "width": _TREE_TILE, "height": _TREE_TILE}
            )
            boxes += [
                {"id": len(boxes) + at, "image_id": number, "category_id": 1, "bbox": box}
                for at, box in enumerate(inside, start=1)
            ]
            if part == "test":
                shown.append(tile.transpose(2, 0, 1))
    content = {
        "images": images,
        "annotations": boxes,
        "categories": [{"id": 1, "name": "tree"}],
    }
    (to / "trees/annotations.json").write_text(json.dumps(content), encoding="utf-8")
    return Prepared(to / "trees", np.stack(shown))


def otsu(images: Array) -> Array:
    """Return masks by the one threshold that best splits the brightness in two (Otsu 1979)."""
    counts = np.bincount(images.reshape(-1), minlength=256).astype(float)
    values = np.arange(256)
    below = counts.cumsum()
    above = below[-1] - below
    sums = (counts * values).cumsum()
    with np.errstate(invalid="ignore", divide="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return (images > np.nanargmax(between)).astype(np.uint8)


def iou(predicted: Array, true: Array) -> float:
    """Return the intersection over union of class 1, over all pixels."""
    both, either = ((predicted == 1) & (true == 1)).sum(), ((predicted == 1) | (true == 1)).sum()
    return float(both / either)


def _tiles(shape: tuple[int, ...], side: int) -> Iterator[tuple[str, int, int]]:
    """Yield the part, x and y of the tiles of a photo that do not overlap."""
    across = shape[1] // side
    for column in range(across):
        part = next(name for name, end in _SHARES if (column + 0.5) / across <= end)
        for row in range(shape[0] // side):
            yield part, column * side, row * side


def _voc(file: Path) -> list[tuple[float, ...]]:
    """Return x1, y1, x2, y2 of each object in a file of Pascal VOC."""
    # The file is of a package that pip has checked.
    root = ElementTree.parse(file).getroot()
    names = ("xmin", "ymin", "xmax", "ymax")
    return [tuple(float(box.findtext(name, "0")) for name in names) for box in root.iter("bndbox")]


def _within(corners: list[tuple[float, ...]], x: int, y: int) -> Iterator[list[float]]:
    """Yield x, y, width and height of the boxes whose centre lies in a tile, cut at its edges."""
    for x1, y1, x2, y2 in corners:
        if 0 <= (x1 + x2) / 2 - x < _TREE_TILE and 0 <= (y1 + y2) / 2 - y < _TREE_TILE:
            left, top = max(x1 - x, 0), max(y1 - y, 0)
            right, bottom = min(x2 - x, _TREE_TILE), min(y2 - y, _TREE_TILE)
            yield [left, top, right - left, bottom - top]


def _write(pixels: Array, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
