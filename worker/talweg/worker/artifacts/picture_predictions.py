"""Boxes and masks of pictures, in the pictures' own pixels."""

import io
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from talweg.spec.local.whole_files import written_aside
from talweg.worker.artifacts.image_files import Pictures

_CORNERS = ("x1", "y1", "x2", "y2")
_CLASSES = "classes.txt"
# Files of one content have the same bytes, whenever they are written.
_EPOCH = (1980, 1, 1, 0, 0, 0)

Mask = NDArray[np.uint8]


def boxes_of(
    predicted: NDArray[Any], pictures: Pictures, classes: Sequence[str], sides: Sequence[int]
) -> pd.DataFrame:
    """Return a row for each box: prediction, score and corners, indexed by the picture's name.

    Args:
        predicted: (N, K, 6): x1, y1, x2, y2, score and class; zeros where there is no box.
        pictures: Of which they are.
        classes: Names, the background's first.
        sides: Height and width that the pictures were resized to.
    """
    image, place = np.nonzero(predicted[..., 4] > 0)
    boxes = predicted[image, place].astype(np.float64)
    scale = np.array([[w / sides[1], h / sides[0]] * 2 for h, w in pictures.sizes])
    labels = boxes[:, 5].astype(int)
    columns: dict[str, Any] = {
        "prediction": np.array([_name(classes, label) for label in labels], dtype=object),
        "score": boxes[:, 4],
    }
    columns |= dict(zip(_CORNERS, (boxes[:, :4] * scale[image]).T, strict=True))
    names = [pictures.names[each] for each in image.tolist()]
    return pd.DataFrame(columns, index=pd.Index(names, name="file", dtype=object))


def masks_of(predicted: NDArray[Any], pictures: Pictures, threshold: float) -> dict[str, Mask]:
    """Return the class of each pixel of each picture (height, width), by the picture's name.

    Args:
        predicted: Probabilities (N, C, H, W); of the foreground alone (N, 1, H, W).
        pictures: Of which they are; masks are resized to the nearest value.
        threshold: From this probability on a pixel is foreground.
    """
    if predicted.shape[1] == 1:
        values = predicted[:, 0] >= threshold
    else:
        values = predicted.argmax(axis=1)
    masks = {}
    for name, (height, width), mask in zip(
        pictures.names, pictures.sizes, values.astype(np.uint8), strict=True
    ):
        image = Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST)
        masks[name] = np.asarray(image)
    return masks


def write_masks(masks: Mapping[str, Mask], path: Path, classes: Sequence[str]) -> None:
    """Write masks as they are uploaded: a PNG for each picture in masks/, and classes.txt.

    Args:
        masks: By the pictures' names.
        path: A .zip file, or an .npz file with an array for each picture; there whole or not at
            all.
        classes: Their names.

    Raises:
        OSError: It cannot be written.
    """
    with written_aside(path) as aside:
        if path.suffix.lower() == ".npz":
            # Not as keywords, of which one may be called `file`.
            _write_npz(masks, aside)
        else:
            _write_zip(masks, aside, classes)


def _write_npz(masks: Mapping[str, Mask], path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, mask in masks.items():
            content = io.BytesIO()
            np.save(content, mask, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", _EPOCH), content.getvalue(),
                             zipfile.ZIP_DEFLATED)  # fmt: skip


def _write_zip(masks: Mapping[str, Mask], path: Path, classes: Sequence[str]) -> None:
    stems = [str(PurePosixPath(name).with_suffix("")) for name in masks]
    counts = Counter(stems)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(zipfile.ZipInfo(_CLASSES, _EPOCH), "".join(f"{n}\n" for n in classes))
        for (name, mask), stem in zip(masks.items(), stems, strict=True):
            content = io.BytesIO()
            Image.fromarray(mask).save(content, "PNG")
            # Pictures that differ in their ending alone keep it.
            unique = stem if counts[stem] == 1 else name
            archive.writestr(zipfile.ZipInfo(f"masks/{unique}.png", _EPOCH), content.getvalue())


def _name(classes: Sequence[str], label: int) -> str:
    return classes[label] if label < len(classes) else str(label)
