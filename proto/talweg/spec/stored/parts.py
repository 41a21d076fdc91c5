"""What the parts of data are called: in a column that says them, by folders and by files."""

from typing import Final

PARTS: Final = ("train", "validation", "test")
"""The parts, in their order."""
_OTHER_NAMES: Final = {
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "testing": "test",
}


def part_named(text: str) -> str:
    """Return the part that a text names, in any case; empty where it names none."""
    name = text.strip().lower()
    return name if name in PARTS else _OTHER_NAMES.get(name, "")
