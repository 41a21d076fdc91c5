"""Folders of images: with labels, with masks, or with boxes."""

from collections.abc import Callable, Sequence

from talweg.ingest.images.archive import Archive, Entry, open_archive
from talweg.ingest.images.coco import ANNOTATIONS, has_coco, read_coco
from talweg.ingest.images.decode import decode, shapes_of
from talweg.ingest.images.labels import LABELS, label_column, labels_of
from talweg.ingest.images.layout import CLASSES, file_name, is_image, lies_in
from talweg.ingest.images.masks import has_masks, read_with_masks
from talweg.ingest.images.reading import Reading, image_column
from talweg.ingest.images.voc import ENDING as VOC_ENDING
from talweg.ingest.images.voc import has_voc, read_voc
from talweg.ingest.images.voc_sets import is_image_set
from talweg.ingest.images.webdataset import is_webdataset, read_samples
from talweg.ingest.images.yolo import LABELS as BOXES
from talweg.ingest.images.yolo import has_yolo, read_yolo
from talweg.ingest.problems import Problem, Refused, names_text
from talweg.ingest.request import Content, Request
from talweg.spec.stored.files import IMAGE_ENDINGS
from talweg.v1.datasets_pb2 import ReadOptions

_BESIDE = (".txt", ".md", ".json", ".html", ".url", ".yaml", ".yml")
_Reader = Callable[[Archive, ReadOptions, int], Reading]


def read_images(request: Request) -> Content:
    """Read a folder of images, or samples of WebDataset, sent as .tar.

    Raises:
        Refused: It cannot be stored; names files.
    """
    options = ReadOptions()
    options.CopyFrom(request.options)
    with open_archive(request) as archive:
        if options.format == ReadOptions.detect and is_webdataset(archive.entries):
            options.format = ReadOptions.webdataset
        if options.format == ReadOptions.webdataset:
            reading = read_samples(archive, options, request.room)
            return _content(reading, options)
        options.format = ReadOptions.images
        _check_endings(archive.entries)
        if not any(map(is_image, archive.entries)):
            endings = ", ".join(IMAGE_ENDINGS)
            raise Refused(Problem(request.file_name, "no image", f"files that end in {endings}"))
        reader, used = _reader_of(archive.entries, request.file_name)
        reading = reader(archive, options, request.room)
        ignored = [
            entry.name for entry in archive.entries if entry.ending in _BESIDE and not used(entry)
        ]
    if ignored:
        reading.notes.append(f"left out: {names_text(ignored)}")
    return _content(reading, options)


def _content(reading: Reading, options: ReadOptions) -> Content:
    return Content(
        reading.columns, reading.num_images, options, is_table=False, notes=reading.notes
    )


def _check_endings(entries: Sequence[Entry]) -> None:
    others = [
        entry.name
        for entry in entries
        if entry.ending not in (*IMAGE_ENDINGS, *_BESIDE, VOC_ENDING)
        and entry.name.lower() != LABELS
    ]
    if others:
        raise Refused(
            Problem(
                names_text(others),
                f"{len(others):,} files that are no images",
                f"{', '.join(IMAGE_ENDINGS)}, {LABELS}, and {VOC_ENDING} of boxes",
                "remove them from the folder",
            )
        )


def _reader_of(entries: Sequence[Entry], folder: str) -> tuple[_Reader, Callable[[Entry], bool]]:
    """Choose what reads a folder, and what tells which files beside the images it looks at.

    Raises:
        Refused: The folder has both masks and boxes, or boxes in two forms.
    """
    kinds: dict[str, tuple[_Reader, Callable[[Entry], bool]]] = {}
    if has_masks(entries):
        kinds["masks (masks/)"] = read_with_masks, lambda entry: file_name(entry) == CLASSES
    if has_coco(entries):
        kinds[f"boxes of COCO ({ANNOTATIONS[0]})"] = (
            read_coco,
            lambda entry: file_name(entry) in ANNOTATIONS,
        )
    if has_yolo(entries):
        kinds[f"boxes of YOLO ({BOXES}/)"] = (
            read_yolo,
            lambda entry: file_name(entry) == CLASSES or lies_in(entry, BOXES),
        )
    if has_voc(entries):
        kinds[f"boxes of Pascal VOC ({VOC_ENDING})"] = (
            read_voc,
            lambda entry: file_name(entry) == CLASSES or is_image_set(entry),
        )
    if len(kinds) > 1:
        raise Refused(
            Problem(
                folder,
                " and ".join(kinds),
                "one of them",
                "leave one out; what has masks and boxes at once can be sent as arrays (.npz)",
            )
        )
    return next(iter(kinds.values()), (_read_with_labels, lambda entry: False))


def _read_with_labels(archive: Archive, options: ReadOptions, room: int) -> Reading:
    """Read images in sub-folders of classes, or with a labels.csv."""
    images = [entry for entry in archive.entries if is_image(entry)]
    labels = labels_of(archive, images)
    columns = [label_column(name, list(texts), options) for name, texts in labels.items()]
    shapes, problems = shapes_of(archive, images)
    if problems:
        raise Refused(*problems)
    known = [shape for shape in shapes if shape is not None]
    pixels, notes = decode(archive, images, known, options, room)
    return Reading([image_column(pixels), *columns], len(images), notes)
