"""Images with boxes in an annotations.json, as COCO has them."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from talweg.ingest.images.archive import Archive, Entry
from talweg.ingest.images.boxes import Boxes
from talweg.ingest.images.decode import Shape, decode, shapes_of
from talweg.ingest.images.layout import (
    IMAGES,
    file_name,
    is_image,
    refuse_if_any,
)
from talweg.ingest.images.reading import Reading, image_column, split_columns
from talweg.ingest.problems import MOST_PROBLEMS, Problem, names_text, quoted
from talweg.v1.datasets_pb2 import ReadOptions

ANNOTATIONS = ("annotations.json", "_annotations.coco.json")
"""What a file of boxes is called; the second by Roboflow, one for each part of the data."""
_LISTS = ("images", "annotations", "categories")
_BOX = 4
_MOST_PROBLEMS = 20 * MOST_PROBLEMS
_BESIDE = "leave this file out if the images' folders are their classes"
_ALLOWED = "boxes [x, y, width, height] in pixels, within the image"


def has_coco(entries: Sequence[Entry]) -> bool:
    """Return whether a folder has boxes as COCO has them."""
    return any(file_name(entry) in ANNOTATIONS for entry in entries)


def read_coco(archive: Archive, options: ReadOptions, room: int) -> Reading:
    """Read images and their boxes.

    Args:
        archive: The folder.
        options: Size and channels; what was chosen is written into it.
        room: How many bytes they may take.

    Raises:
        Refused: They cannot be stored; names files and annotations.
    """
    problems: list[Problem] = []
    files = []
    for entry in archive.entries:
        if file_name(entry) in ANNOTATIONS:
            content = _parsed(entry, archive.read(entry), problems)
            if content is not None:
                files.append(_File(entry, content))
    images = [entry for entry in archive.entries if is_image(entry)]
    shapes, broken = shapes_of(archive, images)
    problems += broken
    categories = _categories(files, problems)
    boxes = Boxes(shapes)
    folder = _Folder(images, shapes, boxes, problems)
    num_crowds = 0
    for file in files:
        folder.take_images(file)
        num_crowds += folder.take_annotations(file, categories)
    if files:
        folder.refuse_unlisted()
    problems += boxes.problems
    if not images and not problems:
        problems.append(Problem("images", "no image", "the images that the annotations list"))
    refuse_if_any(problems)
    known = [shape for shape in shapes if shape is not None]
    pixels, notes = decode(archive, images, known, options, room)
    size = (pixels.shape[2], pixels.shape[3])
    named = [name for name, _ in sorted(categories.items(), key=lambda item: item[1])]
    columns = [image_column(pixels), *boxes.columns(named, size, room - pixels.nbytes)]
    if num_crowds:
        notes.append(f"left out: {num_crowds:,} boxes of crowds (iscrowd)")
    if boxes.num_cut:
        notes.append(boxes.cut_text)
    return Reading([*columns, *split_columns(images)], len(images), notes)


class _File:
    """A file of annotations."""

    def __init__(self, entry: Entry, content: Mapping[str, Any]) -> None:
        self.name = entry.name
        self.folder = entry.name.rpartition("/")[0]
        self.content = content
        self.classes: dict[int, str] = {}
        """Names by the file's own numbers."""
        self.images: dict[int, int] = {}
        """Indices of images by the file's own numbers."""
        self.wrong_images: set[int] = set()
        """Of these there is something wrong already."""


def _parsed(entry: Entry, content: bytes, problems: list[Problem]) -> Mapping[str, Any] | None:
    place = quoted(entry.name)
    allowed = f"a JSON object with the lists {', '.join(_LISTS)}, as COCO has them"
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError) as exc:
        reason = str(exc)[:100]
        problems.append(Problem(place, f"content that is no JSON ({reason})", allowed, _BESIDE))
        return None
    if not isinstance(parsed, dict):
        kind = "a list" if isinstance(parsed, list) else "a single value"
        problems.append(Problem(place, f"JSON that is no COCO: {kind}", allowed, _BESIDE))
        return None
    lacking = [name for name in _LISTS if not isinstance(parsed.get(name), list)]
    if lacking:
        found = f"JSON that is no COCO: no list {', '.join(lacking)}"
        problems.append(Problem(place, found, allowed, _BESIDE))
        return None
    wrong = [
        (name, index)
        for name in _LISTS
        for index, each in enumerate(parsed[name])
        if not isinstance(each, dict)
    ]
    for name, index in wrong:
        problems.append(Problem(f"{place}, {name}[{index}]", "no object", "a JSON object"))
    return None if wrong else parsed


def _categories(files: Sequence[_File], problems: list[Problem]) -> dict[str, int]:
    """Return the class of each name, from 1 in the order of the numbers that they have."""
    classes: dict[str, int] = {}
    for file in files:
        by_number: dict[int, str] = {}
        for index, each in enumerate(file.content["categories"]):
            place = f"{quoted(file.name)}, categories[{index}]"
            number, name = each.get("id"), each.get("name")
            if not _is_whole(number):
                problems.append(Problem(place, f"the id {_shown(number)}", "a whole number"))
            elif not isinstance(name, str) or not name.strip() or not name.isprintable():
                problems.append(Problem(place, f"the name {_shown(name)}", "the name of a class"))
            elif number in by_number or name in by_number.values():
                found = f"{quoted(name)} with the id {number} once more"
                problems.append(Problem(place, found, "an id and a name of its own for each"))
            else:
                by_number[number] = name
        file.classes = dict(sorted(by_number.items()))
        for name in file.classes.values():
            classes.setdefault(name, len(classes) + 1)
        if not file.content["categories"]:
            problems.append(Problem(quoted(file.name), "no category", "at least one category"))
    return classes


class _Folder:
    """The images of a folder, to which files of annotations refer."""

    def __init__(
        self,
        images: Sequence[Entry],
        shapes: Sequence[Shape | None],
        boxes: Boxes,
        problems: list[Problem],
    ) -> None:
        self._images = images
        self._shapes = shapes
        self._boxes = boxes
        self._problems = problems
        self._indices = {image.name: index for index, image in enumerate(images)}
        self._listed: set[int] = set()

    def take_images(self, file: _File) -> None:
        """Find the images that a file lists."""
        for number, each in enumerate(file.content["images"]):
            if len(self._problems) > _MOST_PROBLEMS:
                return
            place = f"{quoted(file.name)}, images[{number}]"
            id_, name = each.get("id"), each.get("file_name")
            if not _is_whole(id_):
                self._say(place, f"the id {_shown(id_)}", "a whole number")
                continue
            if id_ in file.images:
                self._say(place, f"the id {id_} once more", "an id of its own for each image")
                continue
            index = self._index_of(file, name) if isinstance(name, str) else None
            if index is None or index in self._listed:
                again = index is not None
                found = f"the file_name {_shown(name)}" + (" once more" if again else "")
                self._say(place, found, "the path of an image in the folder")
                file.wrong_images.add(id_)
                continue
            file.images[id_] = index
            self._listed.add(index)
            self._check_size(place, each, index)

    def _index_of(self, file: _File, name: str) -> int | None:
        name = name.replace("\\", "/").removeprefix("./")
        below = f"{file.folder}/" if file.folder else ""
        for path in (f"{below}{name}", f"{below}{IMAGES}/{name}"):
            if path in self._indices:
                return self._indices[path]
        return None

    def _check_size(self, place: str, each: Mapping[str, Any], index: int) -> None:
        shape = self._shapes[index]
        size = each.get("height"), each.get("width")
        if shape is None or None in size or size == (shape.height, shape.width):
            return
        name = quoted(self._images[index].name)
        self._say(
            place,
            f"height {_shown(size[0])} and width {_shown(size[1])}",
            f"{shape.height} and {shape.width}, as {name} has",
        )

    def take_annotations(self, file: _File, classes: Mapping[str, int]) -> int:
        """Take a file's boxes; return how many were left out, being those of crowds."""
        num_crowds = 0
        for number, each in enumerate(file.content["annotations"]):
            if self._boxes.is_full or len(self._problems) > _MOST_PROBLEMS:
                break
            if each.get("iscrowd") == 1:
                num_crowds += 1
                continue
            place = f"{quoted(file.name)}, annotations[{number}]"
            image, category, box = (each.get(key) for key in ("image_id", "category_id", "bbox"))
            if not _is_whole(image) or image not in file.images:
                if not _is_whole(image) or image not in file.wrong_images:
                    self._say(place, f"the image_id {_shown(image)}", "the id of an image")
                continue
            if not _is_whole(category) or category not in file.classes:
                allowed = f"the id of a category: {_ids_text(file.classes)}"
                self._say(place, f"the category_id {_shown(category)}", allowed)
                continue
            corner = _numbers(box)
            if corner is None:
                self._say(place, f"the bbox {_shown(box)}", "4 numbers: [x, y, width, height]")
                continue
            self._boxes.add(
                place, file.images[image], classes[file.classes[category]], corner, _ALLOWED
            )
        return num_crowds

    def refuse_unlisted(self) -> None:
        """Refuse images that no file lists: whether they hold objects is not known."""
        unlisted = [
            image.name for index, image in enumerate(self._images) if index not in self._listed
        ]
        if unlisted:
            self._say(
                names_text(unlisted),
                f"{len(unlisted):,} images that the annotations do not list",
                "each image in the list images, also if it has no box",
            )

    def _say(self, place: str, found: str, allowed: str) -> None:
        self._problems.append(Problem(place, found, allowed))


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _numbers(box: object) -> list[float] | None:
    if not isinstance(box, list) or len(box) != _BOX:
        return None
    if any(isinstance(each, bool) or not isinstance(each, int | float) for each in box):
        return None
    try:
        return [float(each) for each in box]
    except OverflowError:
        return None


def _shown(value: object) -> str:
    return "nothing" if value is None else quoted(json.dumps(value, ensure_ascii=False))


def _ids_text(classes: Mapping[int, str]) -> str:
    numbers = list(classes)
    return ", ".join(map(str, numbers[:10])) + (" …" if len(numbers) > 10 else "")
