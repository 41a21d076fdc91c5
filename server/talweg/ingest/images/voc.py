"""Images with boxes in an XML file for each, as Pascal VOC has them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from xml.parsers import expat

from talweg.ingest.images.archive import Archive, Entry
from talweg.ingest.images.boxes import Boxes
from talweg.ingest.images.decode import Shape, decode, shapes_of
from talweg.ingest.images.layout import (
    CLASSES,
    by_place,
    class_names,
    folders_of,
    is_image,
    parts_of,
    refuse_if_any,
)
from talweg.ingest.images.reading import Reading, coded, image_column
from talweg.ingest.images.voc_sets import parts_in_sets
from talweg.ingest.problems import MOST_PROBLEMS, Problem, names_text, quoted
from talweg.v1.datasets_pb2 import ReadOptions

ENDING = ".xml"
"""What the names of files with boxes end in."""
_FOLDERS = ("images", "jpegimages", "annotations")
"""Folders of which images and boxes each have one of their own, in lower case."""
_MASKS = ("segmentationclass", "segmentationobject")
"""Folders of masks, in lower case: they are no images, and have no boxes."""
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_ALLOWED = "boxes xmin, ymin, xmax, ymax in pixels, within the image"
_MOST_BYTES = 4 * 2**20
_MOST_DEPTH = 32
_MOST_CHARS = 200
_MOST_PROBLEMS = 20 * MOST_PROBLEMS


def has_voc(entries: Sequence[Entry]) -> bool:
    """Return whether a folder has boxes as Pascal VOC has them."""
    return any(entry.ending == ENDING for entry in entries)


def read_voc(archive: Archive, options: ReadOptions, room: int) -> Reading:
    """Read images and their boxes.

    Args:
        archive: The folder.
        options: Size and channels; what was chosen is written into it.
        room: How many bytes they may take.

    Raises:
        Refused: They cannot be stored; names files and objects.
    """
    names, problems = class_names(archive)
    images = [entry for entry in archive.entries if is_image(entry) and not _is_mask(entry)]
    files = [entry for entry in archive.entries if entry.ending == ENDING]
    in_sets = parts_in_sets(archive, set(map(_place, images)), _place_of, problems)
    left_out = [image.name for image in images if in_sets and _place(image) not in in_sets]
    if in_sets:
        images = [image for image in images if _place(image) in in_sets]
        files = [file for file in files if _place(file) in in_sets]
    paired = _paired(images, files, problems)
    shapes, broken = shapes_of(archive, images)
    problems += broken
    annotations = [_annotation(archive, file, problems) for file in paired]
    if not names:
        found = {each.name for one in annotations if one is not None for each in one.objects}
        names = sorted(found - {""})
    classes = {name: index for index, name in enumerate(names, start=1)}
    boxes = Boxes(shapes)
    for index, (file, annotation) in enumerate(zip(paired, annotations, strict=True)):
        if file is None or annotation is None or boxes.is_full:
            continue
        if len(problems) > _MOST_PROBLEMS:
            break
        _check_size(file, annotation, images[index], shapes[index], problems)
        _take(file, annotation, index, classes, boxes, problems)
    problems += boxes.problems
    if not images and not problems:
        problems.append(Problem("images", "no image", "an image for each file of boxes"))
    refuse_if_any(problems)
    known = [shape for shape in shapes if shape is not None]
    pixels, notes = decode(archive, images, known, options, room)
    size = (pixels.shape[2], pixels.shape[3])
    columns = [image_column(pixels), *boxes.columns(names, size, room - pixels.nbytes)]
    if boxes.num_cut:
        notes.append(boxes.cut_text)
    if left_out:
        notes.append(f"left out, for no list in ImageSets has them: {names_text(left_out)}")
    if in_sets:
        parts = [in_sets[_place(image)] for image in images]
    else:
        parts = parts_of([_own_folders(image) for image in images])
    if len(set(parts)) > 1:
        columns.append(coded("split", parts))
    return Reading(columns, len(images), notes)


@dataclass
class _Object:
    """An object of an image, as texts."""

    name: str = ""
    corners: dict[str, str] = field(default_factory=dict)


@dataclass
class _Annotation:
    """What the file of an image says."""

    size: dict[str, str] = field(default_factory=dict)
    """width and height, where they are said."""
    objects: list[_Object] = field(default_factory=list)


class _HostileError(Exception):
    """What no file of boxes needs, and what breaks readers of XML."""

    def __init__(self, found: str, allowed: str) -> None:
        super().__init__(found)
        self.found, self.allowed = found, allowed


class _Parser:
    """Reads a file without building its tree, and refuses every kind of declaration.

    Entities can grow without bound, or name other files: there are none without a document type.
    """

    def __init__(self) -> None:
        self.annotation = _Annotation()
        self.root = ""
        self._path: list[str] = []
        self._text: list[str] = []
        parser = expat.ParserCreate()
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text.append
        parser.StartDoctypeDeclHandler = _refuse_doctype
        parser.EntityDeclHandler = _refuse_doctype
        parser.ExternalEntityRefHandler = _refuse_doctype
        self._parser = parser

    def read(self, content: bytes) -> _Annotation:
        self._parser.Parse(content, True)
        return self.annotation

    def _start(self, tag: str, _: Mapping[str, str]) -> None:
        self.root = self.root or tag
        self._path.append(tag)
        self._text.clear()
        if len(self._path) > _MOST_DEPTH:
            raise _HostileError(
                f"elements within each other more than {_MOST_DEPTH} deep",
                f"at most {_MOST_DEPTH}",
            )
        if self._path == ["annotation", "object"]:
            self.annotation.objects.append(_Object())

    def _end(self, tag: str) -> None:
        text = "".join(self._text).strip()
        self._text.clear()
        # Objects may have parts with boxes of their own, which stand deeper.
        match self._path[1:]:
            case ["size", ("width" | "height")]:
                self.annotation.size[tag] = text
            case ["object", "name"]:
                self.annotation.objects[-1].name = text
            case ["object", "bndbox", side] if side in _CORNERS:
                self.annotation.objects[-1].corners[side] = text
        self._path.pop()


def _refuse_doctype(*_: object) -> int:
    raise _HostileError("a document type or an entity", "XML without either, as Pascal VOC has it")


def _annotation(
    archive: Archive, file: Entry | None, problems: list[Problem]
) -> _Annotation | None:
    """Read a file; None where there is none or where it cannot be read."""
    if file is None or len(problems) > _MOST_PROBLEMS:
        return None
    allowed = "XML as Pascal VOC has it: annotation with objects, each with name and bndbox"
    found = ""
    if file.member.size > _MOST_BYTES:
        found = f"{file.member.size:,} bytes"
        allowed = f"at most {_MOST_BYTES:,}"
    else:
        parser = _Parser()
        try:
            annotation = parser.read(archive.read(file))
        except _HostileError as exc:
            found, allowed = exc.found, exc.allowed
        except (expat.ExpatError, ValueError, LookupError) as exc:
            found = f"content that is no XML ({str(exc)[:100]})"
        else:
            if parser.root == "annotation":
                return annotation
            found = f"the root element {quoted(parser.root)}"
    problems.append(Problem(quoted(file.name), found, allowed))
    return None


def _take(
    file: Entry,
    annotation: _Annotation,
    image: int,
    classes: Mapping[str, int],
    boxes: Boxes,
    problems: list[Problem],
) -> None:
    """Take the boxes of an image."""
    for number, each in enumerate(annotation.objects, start=1):
        if boxes.is_full or len(problems) > _MOST_PROBLEMS:
            return
        place = f"{quoted(file.name)}, object {number}"
        if each.name not in classes or len(each.name) > _MOST_CHARS or not each.name.isprintable():
            allowed = f"the name of a class, of at most {_MOST_CHARS} printable characters"
            if each.name and each.name not in classes:
                some = list(classes)
                allowed = f"one of {CLASSES}: {', '.join(some[:10])}{' …' if some[10:] else ''}"
            problems.append(Problem(place, f"the name {quoted(each.name)}", allowed))
            continue
        lacking = [side for side in _CORNERS if side not in each.corners]
        if lacking:
            problems.append(Problem(place, f"a bndbox without {', '.join(lacking)}", _ALLOWED))
            continue
        numbers = [_number(each.corners[side]) for side in _CORNERS]
        wrong = [
            f"{side} {quoted(each.corners[side])}"
            for side, number_ in zip(_CORNERS, numbers, strict=True)
            if not math.isfinite(number_)
        ]
        if wrong:
            problems.append(Problem(place, ", ".join(wrong), "finite numbers of pixels"))
            continue
        x1, y1, x2, y2 = numbers
        boxes.add(place, image, classes[each.name], (x1, y1, x2 - x1, y2 - y1), _ALLOWED)


def _check_size(
    file: Entry,
    annotation: _Annotation,
    image: Entry,
    shape: Shape | None,
    problems: list[Problem],
) -> None:
    said = [annotation.size.get(side) for side in ("height", "width")]
    # Some programs write 0 where they have not looked.
    if shape is None or None in said or said == ["0", "0"]:
        return
    if [_number(text or "") for text in said] != [shape.height, shape.width]:
        problems.append(
            Problem(
                quoted(file.name),
                f"height {quoted(said[0] or '')} and width {quoted(said[1] or '')}",
                f"{shape.height} and {shape.width}, as {quoted(image.name)} has",
            )
        )


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _paired(
    images: Sequence[Entry], files: Sequence[Entry], problems: list[Problem]
) -> list[Entry | None]:
    """Return the file of each image: of the same name, beside it or in a folder of its own."""
    of_images = by_place(images, _place, "image", problems)
    of_files = by_place(files, _place, "file of boxes", problems)
    paired = [of_files.get(_place(image)) for image in images]
    bare = [image.name for image, file in zip(images, paired, strict=True) if file is None]
    if bare:
        problems.append(
            Problem(
                names_text(bare),
                f"{len(bare):,} images without a file of boxes",
                "an .xml of the same name for each, without objects where there are none",
            )
        )
    lost = [file.name for place, file in of_files.items() if place not in of_images]
    if lost:
        problems.append(
            Problem(
                names_text(lost),
                f"{len(lost):,} files of boxes without an image",
                "an image of the same name for each file",
            )
        )
    return paired


def _place(entry: Entry) -> str:
    """Return what an image and its file have in common."""
    return _place_of(folders_of(entry), entry.name.rpartition("/")[2].rpartition(".")[0])


def _place_of(folders: Sequence[str], stem: str) -> str:
    return "/".join([*(name for name in folders if name.lower() not in _FOLDERS), stem])


def _own_folders(entry: Entry) -> list[str]:
    return [name for name in folders_of(entry) if name.lower() not in _FOLDERS]


def _is_mask(entry: Entry) -> bool:
    return any(name.lower() in _MASKS for name in folders_of(entry))
