"""Images with boxes in text files, as YOLO has them: images/, labels/ and classes.txt."""

import math
from collections.abc import Sequence
from functools import partial

from talweg.ingest.images.archive import Archive, Entry
from talweg.ingest.images.boxes import Boxes
from talweg.ingest.images.decode import decode, shapes_of
from talweg.ingest.images.layout import (
    CLASSES,
    IMAGES,
    by_place,
    class_names,
    file_name,
    is_image,
    lies_in,
    place_of,
    refuse_if_any,
    refuse_outside,
)
from talweg.ingest.images.reading import Reading, image_column, split_columns
from talweg.ingest.problems import MOST_PROBLEMS, Problem, names_text, quoted
from talweg.v1.datasets_pb2 import ReadOptions

LABELS = "labels"
"""The folder of the boxes."""
_FORM = "class x y width height: the class counted from 0; centre and size from 0 to 1"
_NUMBERS = 5
_MOST_PROBLEMS = 20 * MOST_PROBLEMS
_ALLOWED = "boxes within the image, centre and size as fractions of its width and height"
_MOST_CLASSES = 1000


def has_yolo(entries: Sequence[Entry]) -> bool:
    """Return whether a folder has boxes as YOLO has them."""
    return any(_is_labels(entry) for entry in entries) and any(
        lies_in(entry, IMAGES) for entry in entries
    )


def read_yolo(archive: Archive, options: ReadOptions, room: int) -> Reading:
    """Read images and their boxes.

    Args:
        archive: The folder.
        options: Size and channels; what was chosen is written into it.
        room: How many bytes they may take.

    Raises:
        Refused: They cannot be stored; names files and lines.
    """
    names, problems = class_names(archive)
    images = [entry for entry in archive.entries if is_image(entry)]
    refuse_outside(images, LABELS, problems)
    images = [image for image in images if lies_in(image, IMAGES)]
    of_images = by_place(images, partial(place_of, folder=IMAGES), "image", problems)
    files = by_place(
        filter(_is_labels, archive.entries), partial(place_of, folder=LABELS), "file", problems
    )
    lost = [entry.name for place, entry in files.items() if place not in of_images]
    if lost:
        problems.append(
            Problem(
                names_text(lost),
                f"{len(lost):,} files of boxes without an image",
                f"an image of the same name in {IMAGES}/ for each file",
            )
        )
    shapes, broken = shapes_of(archive, images)
    problems += broken
    boxes = Boxes(shapes)
    num_bare, highest = 0, 0
    for index, image in enumerate(images):
        file = files.get(place_of(image, IMAGES))
        if file is None:
            num_bare += 1
        elif len(problems) < _MOST_PROBLEMS and not boxes.is_full:
            shape = shapes[index]
            sides = (1, 1) if shape is None else (shape.width, shape.height)
            of_file = _take(archive, file, index, sides, len(names), boxes, problems)
            highest = max(highest, of_file)
    problems += boxes.problems
    refuse_if_any(problems)
    known = [shape for shape in shapes if shape is not None]
    pixels, notes = decode(archive, images, known, options, room)
    size = (pixels.shape[2], pixels.shape[3])
    if not names:
        notes.append(f"no {CLASSES}: classes are called by their numbers")
        names = [f"class {number}" for number in range(highest + 1)]
    columns = [image_column(pixels), *boxes.columns(names, size, room - pixels.nbytes)]
    if num_bare:
        notes.append(f"{num_bare:,} images have no file in {LABELS}/: none of them has an object")
    if boxes.num_cut:
        notes.append(boxes.cut_text)
    return Reading([*columns, *split_columns(images)], len(images), notes)


def _is_labels(entry: Entry) -> bool:
    return entry.ending == ".txt" and lies_in(entry, LABELS) and file_name(entry) != CLASSES


def _take(
    archive: Archive,
    file: Entry,
    image: int,
    sides: tuple[int, int],
    num_classes: int,
    boxes: Boxes,
    problems: list[Problem],
) -> int:
    """Take the boxes of an image; return the highest number of a class."""
    try:
        text = archive.read(file).decode("utf-8-sig")
    except UnicodeDecodeError:
        problems.append(Problem(quoted(file.name), "text that is no utf-8", "lines of numbers"))
        return 0
    highest = 0
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        if len(problems) >= _MOST_PROBLEMS or boxes.is_full:
            break
        place = f"{quoted(file.name)}, line {number}"
        values = _numbers(words)
        if len(words) != _NUMBERS or values is None:
            what = f"{len(words)} numbers" if values is not None else "no numbers"
            hint = "outlines are not read: write the box around them" if len(words) > 6 else ""
            problems.append(Problem(place, f"{what}: {quoted(line)}", _FORM, hint))
            continue
        class_number, x, y, width, height = values
        most = num_classes or _MOST_CLASSES
        if not 0 <= class_number < most or class_number != int(class_number):
            allowed = f"0 to {most - 1}"
            if num_classes:
                allowed += f", the lines of {CLASSES} counted from 0"
            problems.append(Problem(place, f"the class {quoted(words[0])}", allowed))
            continue
        highest = max(highest, int(class_number))
        if width < 0 or height < 0 or max(x, y, width, height) > 2:
            found = f"the box {quoted(' '.join(words[1:]))}"
            hint = "divide pixels by the image's width and height" if max(x, y) > 2 else ""
            problems.append(Problem(place, found, _FORM, hint))
            continue
        across, down = sides
        corner = (
            (x - width / 2) * across, (y - height / 2) * down, width * across, height * down,
        )  # fmt: skip
        boxes.add(place, image, int(class_number) + 1, corner, _ALLOWED)
    return highest


def _numbers(words: Sequence[str]) -> list[float] | None:
    try:
        values = [float(word) for word in words]
    except ValueError:
        return None
    return values if all(map(math.isfinite, values)) else None
