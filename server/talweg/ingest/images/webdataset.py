"""Samples of WebDataset: the files of a sample have one name up to the first dot."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from talweg.ingest.images.archive import Archive, Entry
from talweg.ingest.images.decode import decode, shapes_of
from talweg.ingest.images.labels import label_column
from talweg.ingest.images.layout import (
    CLASSES,
    folders_of,
    is_image,
    refuse_if_any,
)
from talweg.ingest.images.masks import read_pairs
from talweg.ingest.images.reading import Reading, image_column, split_columns
from talweg.ingest.problems import MOST_PROBLEMS, Problem, quoted
from talweg.ingest.request import Column
from talweg.spec.stored.files import IMAGE_ENDINGS
from talweg.v1.datasets_pb2 import ReadOptions

_CLASS = ".cls"
_LABELS = (_CLASS, ".txt", ".json")
_OF_MASKS = (".seg.png", ".mask.png")
_MOST_LABEL_BYTES = 1 << 16
_MOST_KEYS = 100
_MOST_CHARS = 200
_LABEL, _TAKEN = "label", ("image", "mask", "split")
_ALLOWED_LABEL = "a label in a line of utf-8 text"
_ALLOWED_JSON = "a text of one line, a number, true or false, or an object of such by name"
_SEVERAL_LINES = "several lines or control characters"
_NO_LABELS = "leave such values out, or say format: images, which passes over the file"


@dataclass
class _Sample:
    """The files of one sample."""

    images: list[Entry] = field(default_factory=list)
    masks: list[Entry] = field(default_factory=list)
    labels: list[Entry] = field(default_factory=list)

    @property
    def first(self) -> Entry:
        return (self.images or self.labels or self.masks)[0]


def is_webdataset(entries: Sequence[Entry]) -> bool:
    """Tell whether a folder is one of samples, where nobody has said so.

    Files of text beside images in several folders may as well describe pictures whose folders are
    their classes.
    """
    if any(entry.ending == _CLASS for entry in entries):
        return True
    images = [entry for entry in entries if is_image(entry)]
    if len({tuple(folders_of(image)) for image in images}) != 1:
        return False
    named = {_key(image) for image in images}
    if any(entry.ending in _LABELS and _key(entry) in named for entry in entries):
        return True
    png = {_key(image) for image in images if image.ending == ".png"}
    others = {_key(image) for image in images if image.ending != ".png"}
    return png == others or any(map(_is_mask, images))


def read_samples(archive: Archive, options: ReadOptions, room: int) -> Reading:
    """Read images with labels, masks or both.

    Args:
        archive: The samples.
        options: Size, channels and ignored value; what was chosen is written into it.
        room: How many bytes images and masks may take.

    Raises:
        Refused: They cannot be stored; names files.
    """
    samples, problems = _grouped(archive.entries)
    problems += _incomplete(samples)
    whole = [sample for sample in samples.values() if sample.images]
    labels = _labels(archive, whole, problems)
    images = [sample.images[0] for sample in whole]
    if any(sample.masks for sample in whole):
        masks = [sample.masks[0] if sample.masks else None for sample in whole]
        reading = read_pairs(archive, images, masks, options, room, problems)
        reading.columns += _columns(labels, options)
        return reading
    shapes, broken = shapes_of(archive, images)
    refuse_if_any([*problems, *broken])
    columns = _columns(labels, options)
    known = [shape for shape in shapes if shape is not None]
    pixels, notes = decode(archive, images, known, options, room)
    columns = [image_column(pixels), *columns]
    return Reading([*columns, *split_columns(images)], len(images), notes)


def _key(entry: Entry) -> str:
    folder, slash, name = entry.name.rpartition("/")
    return f"{folder}{slash}{name.partition('.')[0]}"


def _is_mask(entry: Entry) -> bool:
    return entry.name.lower().endswith(_OF_MASKS)


def _grouped(entries: Sequence[Entry]) -> tuple[dict[str, _Sample], list[Problem]]:
    """Return the samples by their names, and files that belong to none."""
    samples: dict[str, _Sample] = {}
    problems: list[Problem] = []
    for entry in entries:
        if entry.name.lower() == CLASSES:
            continue
        sample = samples.setdefault(_key(entry), _Sample())
        if _is_mask(entry):
            sample.masks.append(entry)
        elif is_image(entry):
            sample.images.append(entry)
        elif entry.ending in _LABELS:
            sample.labels.append(entry)
        else:
            what = f"the ending {quoted(entry.ending)}" if entry.ending else "no ending"
            problems.append(
                Problem(
                    quoted(entry.name),
                    what,
                    f"{', '.join((*IMAGE_ENDINGS, *_LABELS))}, or .seg.png of a mask",
                    "leave such files out",
                )
            )
            if not (sample.images or sample.masks or sample.labels):
                del samples[_key(entry)]
    for sample in samples.values():
        _take_mask(sample)
    return samples, problems


def _take_mask(sample: _Sample) -> None:
    """Take a PNG beside an image of another kind as its mask."""
    png = [image for image in sample.images if image.ending == ".png"]
    if len(png) == 1 and len(sample.images) == 2 and not sample.masks:
        sample.masks = png
        sample.images = [image for image in sample.images if image is not png[0]]


def _incomplete(samples: Mapping[str, _Sample]) -> list[Problem]:
    """Say which samples lack something, or have too much of it."""
    problems: list[Problem] = []
    all_samples = list(samples.values())
    with_masks = any(sample.masks for sample in all_samples)
    with_labels = any(sample.labels for sample in all_samples)
    if not any(sample.images for sample in all_samples):
        return [Problem("samples", "no image", f"files that end in {', '.join(IMAGE_ENDINGS)}")]
    for sample in all_samples:
        if len(problems) > MOST_PROBLEMS:
            break
        place = quoted(sample.first.name)
        for files, what in (
            (sample.images, "image"),
            (sample.masks, "mask"),
            (sample.labels, "label"),
        ):
            if len(files) > 1:
                names = " and ".join(quoted(each.name) for each in files[:3])
                hint = "the name of a sample ends at the first dot"
                problems.append(Problem(names, f"{len(files)} {what}s", "one a sample", hint))
        if not sample.images:
            allowed = f"an image beside it, {', '.join(IMAGE_ENDINGS)}"
            problems.append(Problem(place, "a sample without an image", allowed))
        elif with_labels and not sample.labels or not (with_labels or with_masks):
            allowed = f"a file of the same name in {', '.join(_LABELS)} for each image"
            problems.append(Problem(place, "a sample without a label", allowed))
        elif with_masks and not sample.masks:
            allowed = "a PNG of the same name for each image, such as 0001.seg.png"
            hint = "where nothing is to be seen, the mask is 0 everywhere"
            problems.append(Problem(place, "a sample without a mask", allowed, hint))
    return problems


def _labels(
    archive: Archive, samples: Sequence[_Sample], problems: list[Problem]
) -> dict[str, list[str]]:
    """Return the texts that label samples, by column."""
    columns: dict[str, list[str]] = {}
    first: tuple[Entry, list[str]] | None = None
    for sample in samples:
        if not sample.labels or len(problems) > MOST_PROBLEMS:
            continue
        entry = sample.labels[0]
        try:
            values = _values(archive, entry)
        except _Unfit as exc:
            # A folder of images may have such beside them.
            hint = _NO_LABELS if entry.ending != _CLASS else ""
            problems.append(Problem(quoted(entry.name), exc.found, exc.allowed, hint))
            continue
        if first is None:
            first = entry, list(values)
        if set(values) != set(first[1]):
            problems.append(
                Problem(
                    quoted(entry.name),
                    f"values of {_listed(values)}",
                    f"those of {_listed(first[1])}, as {quoted(first[0].name)} has",
                )
            )
            continue
        for name, text in values.items():
            columns.setdefault(name, []).append(text)
    return columns


def _listed(names: Sequence[str] | Mapping[str, str]) -> str:
    return ", ".join(quoted(name) for name in sorted(names)[:10]) or "no name"


def _columns(labels: Mapping[str, Sequence[str]], options: ReadOptions) -> list[Column]:
    return [label_column(name, texts, options) for name, texts in labels.items()]


class _Unfit(Exception):
    """A file that holds no label."""

    def __init__(self, found: str, allowed: str) -> None:
        super().__init__(found)
        self.found, self.allowed = found, allowed


def _values(archive: Archive, entry: Entry) -> dict[str, str]:
    """Return what a file says of its sample, by column.

    Raises:
        _Unfit: It says nothing that can be a label.
    """
    if entry.member.size > _MOST_LABEL_BYTES:
        raise _Unfit(f"{entry.member.size:,} bytes", f"at most {_MOST_LABEL_BYTES:,} for a label")
    try:
        text = archive.read(entry).decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise _Unfit("text that is no utf-8", "utf-8") from None
    if entry.ending == ".json":
        return _of_json(text)
    if not text:
        raise _Unfit("no label", _ALLOWED_LABEL)
    if not text.isprintable():
        raise _Unfit(_SEVERAL_LINES, _ALLOWED_LABEL)
    return {_LABEL: text}


def _of_json(text: str) -> dict[str, str]:
    try:
        value = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_pairs)
    except (ValueError, RecursionError) as exc:
        raise _Unfit(f"no JSON ({str(exc)[:100]})", _ALLOWED_JSON) from None
    if not isinstance(value, dict):
        return {_LABEL: _text(value, _LABEL)}
    if not 1 <= len(value) <= _MOST_KEYS:
        raise _Unfit(f"an object of {len(value):,} values", f"1 to {_MOST_KEYS}")
    for name in value:
        if not 0 < len(name) <= _MOST_CHARS or not name.isprintable() or name in _TAKEN:
            allowed = f"up to {_MOST_CHARS} printable characters, and not {', '.join(_TAKEN)}"
            raise _Unfit(f"the name {quoted(name)}", allowed)
    return {name: _text(each, name) for name, each in value.items()}


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a name twice")
    return value


def _text(value: Any, name: str) -> str:
    """Write a value as a file of CSV would have it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return str(value)
    if isinstance(value, str) and value.strip():
        if not value.isprintable():
            raise _Unfit(f"{_SEVERAL_LINES} as {quoted(name)}", _ALLOWED_JSON)
        return value
    kind = {list: "a list", dict: "an object", type(None): "null", str: "an empty text"}
    found = kind.get(type(value), "no finite number")
    raise _Unfit(f"{found} as {quoted(name)}", _ALLOWED_JSON)
