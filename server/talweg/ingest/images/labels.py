"""The labels of images: by sub-folder, or by a labels.csv."""

import csv
import io
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from talweg.ingest.images.archive import Archive, Entry
from talweg.ingest.images.layout import parts_of
from talweg.ingest.problems import Problem, Refused, names_text, quoted
from talweg.ingest.request import Column
from talweg.ingest.tables.delimiter import delimiter_of
from talweg.ingest.tables.text_types import TextOptions, column_of_text
from talweg.v1.datasets_pb2 import ReadOptions
from talweg.v1.stored_datasets_pb2 import DataColumn

LABELS = "labels.csv"
Labels = Mapping[str, Sequence[str]]


def labels_of(archive: Archive, images: Sequence[Entry]) -> Labels:
    """Return the texts that label images: by column, one for each image.

    Args:
        archive: The folder.
        images: Its images.

    Returns:
        `label`, and `split` where the folders at the top are train, validation and test; nothing
        where all images lie in one folder.

    Raises:
        Refused: labels.csv does not fit the images, or some images have no class.
    """
    table = [entry for entry in archive.entries if entry.name.lower() == LABELS]
    if table:
        return {"label": _of_table(archive, table[0], images)}
    folders = [entry.name.split("/")[:-1] for entry in images]
    if not any(folders):
        return {}
    bare = [entry.name for entry, folder in zip(images, folders, strict=True) if not folder]
    if bare:
        raise Refused(
            Problem(
                names_text(bare),
                f"{len(bare):,} images beside the folders of classes",
                "each image in the folder of its class",
                f"or write {LABELS} with the columns file and label",
            )
        )
    parts = parts_of(folders)
    if parts and all(len(folder) > 1 for folder in folders):
        return {"label": [folder[1] for folder in folders], "split": parts}
    return {"label": [folder[0] for folder in folders]}


def label_column(name: str, texts: Sequence[str], options: ReadOptions) -> Column:
    """Return the column of labels: classes or numbers.

    Args:
        name: Of the column.
        texts: The label of each image.
        options: Names the columns that are categories, whatever they look like.

    Raises:
        Refused: There are too many distinct texts, or a few texts among numbers.
    """
    kind, values = _column_of_labels(name, texts, options)
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


def _column_of_labels(
    name: str, texts: Sequence[str], read: ReadOptions
) -> tuple[DataColumn.Type.ValueType, pa.ChunkedArray]:
    """Find out what labels are: classes or numbers.

    Args:
        name: Of the column.
        texts: The labels.
        read: Names the columns that are categories, whatever they look like.

    Raises:
        Refused: Most are numbers, and a few are none.
    """
    options = TextOptions(missing=frozenset({""}), categories=frozenset(read.categories))
    column, _ = column_of_text(name, pa.chunked_array([pa.array(texts, pa.string())]), options)
    return column.type, column.values


def _of_table(archive: Archive, entry: Entry, images: Sequence[Entry]) -> list[str]:
    content = archive.read(entry)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("cp1252", "replace")
    delimiter = delimiter_of(text[: 1 << 16], ".csv")
    rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    header = [field.strip().lower() for field in rows[0]] if rows else []
    if "file" not in header or "label" not in header:
        raise Refused(
            Problem(
                f"{LABELS}, header",
                names_text(header) or "nothing",
                "the columns file and label",
            )
        )
    file_at, label_at = header.index("file"), header.index("label")
    labels: dict[str, str] = {}
    problems = []
    for number, row in enumerate(rows[1:], start=1):
        if not row:
            continue
        place = f"{LABELS}, row {number}"
        if len(row) != len(header):
            problems.append(Problem(place, f"{len(row)} values", f"{len(header)}, as the header"))
            continue
        name, label = row[file_at].strip().removeprefix("./"), row[label_at].strip()
        if not label:
            problems.append(
                Problem(place, f"no label for {quoted(name)}", "a label for each file")
            )
        if name in labels:
            problems.append(Problem(place, f"{quoted(name)} once more", "each file once"))
        labels[name] = label
    names = {image.name for image in images}
    unknown = [name for name in labels if name not in names]
    if unknown:
        problems.append(
            Problem(
                LABELS,
                f"{len(unknown):,} files that are not there: {names_text(unknown)}",
                "paths of images, relative to the folder",
            )
        )
    bare = [image.name for image in images if image.name not in labels]
    if bare:
        problems.append(
            Problem(
                LABELS,
                f"no row for {len(bare):,} images: {names_text(bare)}",
                "a label for each image",
            )
        )
    if problems:
        raise Refused(*problems)
    return [labels[image.name] for image in images]
