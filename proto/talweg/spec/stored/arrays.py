"""Arrays beside the inputs, or in place of them: masks, boxes, images, pairs and triplets."""

from collections.abc import Callable, Iterator, Sequence

from talweg.spec.errors import Violation
from talweg.spec.stored.roles import Roles
from talweg.spec.stored.wording import AT, MOST_CLASSES, NUMBERS, complete, type_text
from talweg.v1.datasets_pb2 import StoredFacts
from talweg.v1.stored_datasets_pb2 import DataColumn


def check_arrays(facts: StoredFacts, roles: Roles, arrays: Sequence[str]) -> Iterator[Violation]:
    """Check the further arrays that a task reads: masks, boxes, pairs."""
    for name in arrays:
        if name in ("x", "y"):
            continue
        column = roles.arrays.get(name)
        if column is None:
            yield Violation(
                f"{AT}.{name}",
                "nothing",
                "the name of an array",
                f"the task reads {name}; an array of that name needs no mention",
            )
            continue
        yield from complete(f"{AT}.{name}", column)
        check = _CHECKS.get(name)
        if check is not None:
            yield from check(facts, roles, column, f"{AT}.{name}")


def _compared(
    facts: StoredFacts, roles: Roles, column: DataColumn, at: str
) -> Iterator[Violation]:
    """Check samples of a pair or triplet: the first tells the shape of all."""
    shape = tuple(column.shape)
    if column.type not in NUMBERS or len(shape) not in (1, 3):
        yield Violation(
            at,
            f"{type_text(column)} of shape {shape}",
            "vectors (features,) or images (channels, height, width)",
        )
    elif not facts.shape:
        facts.shape.extend(shape)
        facts.in_unit_range = column.dtype == "uint8" or (column.min >= 0 and column.max <= 1)
    elif shape != tuple(facts.shape):
        yield Violation(at, f"samples of shape {shape}", f"{tuple(facts.shape)}, as the first one")


def _same(facts: StoredFacts, roles: Roles, column: DataColumn, at: str) -> Iterator[Violation]:
    is_whole = column.type in (DataColumn.INTEGER, DataColumn.BOOLEAN)
    if column.shape or not is_whole or column.min < 0 or column.max > 1:
        yield Violation(at, type_text(column), "1 for a pair that belongs together, else 0")


def _image(facts: StoredFacts, roles: Roles, column: DataColumn, at: str) -> Iterator[Violation]:
    size, shape = tuple(facts.shape[1:]), tuple(column.shape)
    if column.type not in NUMBERS or len(shape) != 3 or shape[1:] != size:
        yield Violation(at, f"{type_text(column)} of shape {shape}", f"(channels, *{size})")


def _depth(facts: StoredFacts, roles: Roles, column: DataColumn, at: str) -> Iterator[Violation]:
    size, shape = tuple(facts.shape[1:]), tuple(column.shape)
    if column.type not in NUMBERS or shape != size:
        yield Violation(
            at, f"{type_text(column)} of shape {shape}", f"numbers {size}, one a pixel"
        )


def _mask(facts: StoredFacts, roles: Roles, column: DataColumn, at: str) -> Iterator[Violation]:
    size = tuple(facts.shape[1:])
    if tuple(column.shape) != size:
        yield Violation(at, f"masks of shape {tuple(column.shape)}", f"{size}, as the images")
    yield from _class_indices(facts, column, at, "class indices from 0, the background")
    if column.HasField("ignore_index"):
        facts.ignore_index = column.ignore_index


def _box_classes(
    facts: StoredFacts, roles: Roles, column: DataColumn, at: str
) -> Iterator[Violation]:
    most = _most_boxes(roles)
    if most and tuple(column.shape) != (most,):
        yield Violation(at, f"samples of shape {tuple(column.shape)}", f"({most},), as the boxes")
    allowed = "class indices from 1; 0 where there is no box"
    yield from _class_indices(facts, column, at, allowed)


def _class_indices(
    facts: StoredFacts, column: DataColumn, at: str, allowed: str
) -> Iterator[Violation]:
    if column.type == DataColumn.CATEGORY:
        # Codes of names; the first is that of the background.
        facts.num_classes = max(facts.num_classes, len(column.values), 2)
    elif column.type not in (DataColumn.INTEGER, DataColumn.BOOLEAN) or column.min < 0:
        yield Violation(at, type_text(column), allowed)
    elif column.max >= MOST_CLASSES:
        yield Violation(
            at,
            f"class indices up to {column.max:,.0f}",
            f"at most {MOST_CLASSES:,} classes, 0 to {MOST_CLASSES - 1}",
            "number the classes 0, 1, 2 and so on",
        )
    else:
        facts.num_classes = max(facts.num_classes, int(column.max) + 1, 2)


def _boxes(facts: StoredFacts, roles: Roles, column: DataColumn, at: str) -> Iterator[Violation]:
    if len(column.shape) != 2 or column.shape[1] != 4:
        yield Violation(at, f"samples of shape {tuple(column.shape)}", "(most boxes, 4)")
        return
    side = max(facts.shape[1:], default=0)
    if column.min < 0 or (side and column.max > side):
        yield Violation(
            at,
            f"corners from {column.min:g} to {column.max:g}",
            f"x1, y1, x2, y2 in pixels, 0 to {side}",
        )


def _count(facts: StoredFacts, roles: Roles, column: DataColumn, at: str) -> Iterator[Violation]:
    most = _most_boxes(roles)
    if column.shape or column.type != DataColumn.INTEGER or not 0 <= column.max <= (most or 0):
        yield Violation(at, type_text(column), f"the number of boxes of each image, 0 to {most}")
    elif column.min < 0:
        yield Violation(at, type_text(column), "numbers from 0")


def _most_boxes(roles: Roles) -> int:
    """Return how many boxes an image has room for; 0 where that is not known."""
    boxes = roles.arrays.get("boxes")
    return boxes.shape[0] if boxes is not None and boxes.shape else 0


_Check = Callable[[StoredFacts, Roles, DataColumn, str], Iterator[Violation]]
_CHECKS: dict[str, _Check] = {
    "mask": _mask,
    "boxes": _boxes,
    "classes": _box_classes,
    "count": _count,
    "image": _image,
    "depth": _depth,
    "same": _same,
    **dict.fromkeys(("left", "right", "anchor", "positive", "negative"), _compared),
}
