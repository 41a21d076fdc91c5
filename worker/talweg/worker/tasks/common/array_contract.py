"""What a task's arrays must look like, wherever they come from."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from talweg.worker.data import DataSplit
from talweg.worker.errors import UserSpecError


@dataclass(frozen=True)
class Array:
    """One named array."""

    shapes: tuple[str, ...]
    """Shapes that are allowed, such as "N C H W": a letter is one size throughout the part, a
    number that size, and … any further sizes."""
    holds: str
    """What it holds, for people."""
    whole: bool = False
    """Whether it holds indices or counts, and else numbers."""
    may_lack: bool = False
    """Whether the task can do without."""


def check_split(part: DataSplit, contract: Mapping[str, Array], where: str) -> None:
    """Refuse a part whose arrays are not what a task reads.

    Args:
        part: The samples.
        contract: The arrays.
        where: Which part it is.

    Raises:
        UserSpecError: An array is missing, or has another shape or type.
    """
    sizes: dict[str, int] = {}
    for name, wanted in contract.items():
        if name not in part.arrays:
            if wanted.may_lack:
                continue
            raise UserSpecError(
                f"dataset: the {where} data must have an array {name}, {wanted.holds}, but it has "
                f"{', '.join(part.arrays)}"
            )
        _check_array(part.arrays[name], name, wanted, where, sizes)


def _check_array(
    array: Tensor, name: str, wanted: Array, where: str, sizes: dict[str, int]
) -> None:
    kind = "whole numbers" if wanted.whole else "floating point numbers"
    fits = array.is_floating_point() != wanted.whole
    for shape in wanted.shapes:
        fitting = _fit(tuple(array.shape), shape.split(), sizes) if fits else None
        if fitting is not None:
            sizes.update(fitting)
            return
    allowed = " or ".join(f"({', '.join(shape.split())})" for shape in wanted.shapes)
    known = ", ".join(f"{letter} = {size}" for letter, size in sizes.items())
    raise UserSpecError(
        f"dataset: {name} of the {where} data must be {kind} of shape {allowed}, {wanted.holds}, "
        f"but got {array.dtype} of shape {tuple(array.shape)}{known and f', where {known}'}"
    )


def _fit(
    shape: tuple[int, ...], wanted: list[str], sizes: dict[str, int]
) -> dict[str, int] | None:
    """Return the sizes that a shape gives its letters; None where it does not fit."""
    if wanted[-1] == "…":
        wanted = wanted[:-1]
        shape = shape[: len(wanted)]
    if len(shape) != len(wanted):
        return None
    fitting: dict[str, int] = {}
    for size, letter in zip(shape, wanted, strict=True):
        known = int(letter) if letter.isdigit() else fitting.get(letter, sizes.get(letter, size))
        if known != size:
            return None
        if not letter.isdigit():
            fitting[letter] = size
    return fitting
