"""Files in folders and archives: which are images, and which other programs have left."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

IMAGE_ENDINGS: Final = (
    ".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff",
)  # fmt: skip
"""What the names of images end in, in lower case."""

_JUNK = ("__MACOSX", "Thumbs.db", "desktop.ini")


def is_junk(parts: Iterable[str]) -> bool:
    """Return whether a file is hidden, or left by a file manager.

    Args:
        parts: Of its path. The parts . and .. hide nothing: callers refuse them.
    """
    return any(
        part in _JUNK or (part.startswith(".") and part not in (".", "..")) for part in parts
    )


def images_below(folder: Path) -> list[Path]:
    """Return the images of a folder and of the folders in it, in order.

    Raises:
        OSError: It cannot be read.
    """
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in IMAGE_ENDINGS and not is_junk(path.relative_to(folder).parts)
    )
