"""Folders of images."""

import numpy as np
import pyarrow as pa

from talweg.ingest.images.archive import open_archive
from talweg.ingest.images.decode import decode
from talweg.ingest.images.labels import LABELS, column_of_labels, labels_of
from talweg.ingest.problems import Problem, Refused, names_text, quoted
from talweg.ingest.request import Column, Content, Request
from talweg.v1.datasets_pb2 import ReadOptions
from talweg.v1.stored_datasets_pb2 import DataColumn

_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")
_BESIDE = (".txt", ".md", ".json", ".html", ".url")


def read_images(request: Request) -> Content:
    """Read a folder of images, sent as .tar.

    Raises:
        Refused: It cannot be stored; names files.
    """
    options = ReadOptions()
    options.CopyFrom(request.options)
    options.format = ReadOptions.images
    with open_archive(request) as archive:
        images = [entry for entry in archive.entries if entry.ending in _ENDINGS]
        others = [
            entry.name
            for entry in archive.entries
            if entry.ending not in (*_ENDINGS, *_BESIDE) and entry.name.lower() != LABELS
        ]
        if others:
            raise Refused(
                Problem(
                    names_text(others),
                    f"{len(others):,} files that are no images",
                    f"{', '.join(_ENDINGS)}, and {LABELS}",
                    "remove them from the folder",
                )
            )
        if not images:
            raise Refused(
                Problem(request.file_name, "no image", f"files that end in {', '.join(_ENDINGS)}")
            )
        labels = labels_of(archive, images)
        columns = [_label(name, list(texts), options) for name, texts in labels.items()]
        pixels, notes = decode(archive, images, options, request.room)
    ignored = [entry.name for entry in archive.entries if entry.ending in _BESIDE]
    if ignored:
        notes.append(f"left out: {names_text(ignored)}")
    image = Column("image", DataColumn.INTEGER, pixels)
    return Content([image, *columns], len(images), options, is_table=False, notes=notes)


def _label(name: str, texts: list[str], options: ReadOptions) -> Column:
    kind, values = column_of_labels(name, texts, options)
    if kind == DataColumn.TEXT:
        raise Refused(
            Problem(
                f"column {quoted(name)}",
                f"{len(set(texts)):,} distinct labels of {len(texts):,} images",
                "at most 1,000 classes, or numbers",
            )
        )
    if kind == DataColumn.CATEGORY:
        return _coded(name, values.combine_chunks())
    if kind == DataColumn.DATE:
        values = values.cast(pa.int64())
    return Column(name, kind, np.array(values.to_numpy()))


def _coded(name: str, values: pa.DictionaryArray) -> Column:
    if isinstance(values, pa.ChunkedArray):
        values = values.chunk(0)
    codes = values.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return Column(name, DataColumn.CATEGORY, codes, values.dictionary.to_pylist())
