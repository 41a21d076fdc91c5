"""Predictions that a worker computes: tables, arrays and pictures are sent as files."""

import csv
import io
import os
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from talweg.client._errors import InvalidRequest, MissingExtra
from talweg.spec import drop_control
from talweg.spec.local.whole_files import written_aside
from talweg.spec.predictions import (
    ARRAY,
    ENDINGS,
    MAX_PICTURES_BYTES,
    format_of,
    most_bytes,
)
from talweg.spec.stored.files import IMAGE_ENDINGS, images_below
from talweg.v1.predictions_pb2 import PredictionTable, PredictRequest, PredictResponse

if TYPE_CHECKING:
    from talweg.client._connection import Connection

# More than a server takes by default.
_SECONDS = 90.0
_CSV, _NPZ, _ZIP = PredictionTable.CSV, PredictionTable.NPZ, PredictionTable.ZIP
_HERE = "compute here without --remote or remote=True"
# The same pictures give the same bytes.
_EPOCH = (1980, 1, 1, 0, 0, 0)
# Of these tasks predictions of pictures are no tables.
_MASKS, _IMAGES = "segmentation", "image_translation"


def predict(connection: "Connection", job: str, data: Any, *, task: str = "") -> Any:
    """Predict for a table, an array or pictures; see `Job.predict`.

    Args:
        connection: To the server.
        job: jobs/{id}.
        data: What to predict for.
        task: The job's: it tells what predictions of pictures are.

    Raises:
        InvalidRequest: The data are too large, or do not fit the model.
        MissingExtra: An array needs NumPy.
        TalwegError: Another error of the server.
        OSError: A file cannot be read.
    """
    table = connection.work(_table_of, data)
    of_pictures = table.format == _ZIP
    as_array = (table.format == _NPZ and not _is_frame(data)) or (of_pictures and task == _IMAGES)
    request = PredictRequest(job=job, table=table)
    if of_pictures and task == _MASKS:
        request.output_format = _NPZ
    response = _called(connection, request, as_array=as_array)
    if as_array:
        return connection.work(_array, response)
    if request.output_format == _NPZ:
        return connection.work(_arrays, response)
    columns = connection.work(_columns, response)
    return _frame(columns, data) if _is_frame(data) else columns


def predict_file(
    connection: "Connection", job: str, source: Path, target: Path, *, id_column: str
) -> int:
    """Predict for a file, and write the predictions to another; see `Job.predict_file`.

    Raises:
        InvalidRequest: A format is unknown, the file is too large, or does not fit the model.
        TalwegError: Another error of the server.
        OSError: A file cannot be read or written.
    """
    request = PredictRequest(
        job=job,
        table=connection.work(_of_file, source),
        id_column=id_column,
        output_format=_format(target, "write"),
    )
    response = _called(connection, request)
    connection.work(_write, response.table.content, target)
    return response.num_rows


def _called(
    connection: "Connection", request: PredictRequest, *, as_array: bool = False
) -> PredictResponse:
    num_bytes, most = len(request.table.content), most_bytes(request.table.format)
    if num_bytes > most:
        raise InvalidRequest(
            f"a worker predicts for at most {most:,} bytes of rows at once, but these have "
            f"{num_bytes:,}: send fewer rows, or {_HERE}"
        )
    if as_array:
        request.as_array, request.output_format = True, _NPZ
    response = connection.call(connection.predictions.Predict, request, at_least=_SECONDS)
    for note in response.notes:
        # As the model itself says it where it predicts on this machine.
        warnings.warn(drop_control(note), UserWarning, stacklevel=4)
    return response


def _table_of(data: Any) -> PredictionTable:
    if isinstance(data, (str, os.PathLike)):
        return _of_file(Path(data))
    if isinstance(data, Mapping):
        return PredictionTable(format=_CSV, content=_csv(data))
    if not _is_frame(data):
        return PredictionTable(format=_NPZ, content=_npz(data))
    import pandas as pd

    if isinstance(data.columns, pd.RangeIndex):
        # Columns that pandas has numbered itself have no names.
        return PredictionTable(format=_NPZ, content=_npz(data.to_numpy()))
    return PredictionTable(format=_CSV, content=data.to_csv(index=False).encode())


def _is_frame(data: Any) -> bool:
    """Return whether this is a data frame of pandas."""
    return hasattr(data, "to_csv") and hasattr(data, "index")


def _of_file(path: Path) -> PredictionTable:
    if path.is_dir() or path.suffix.lower() in IMAGE_ENDINGS:
        return PredictionTable(format=_ZIP, content=_packed(path))
    format_ = _format(path, "read")
    most = most_bytes(format_)
    with path.open("rb") as file:
        # What is too large is not read to its end.
        content = file.read(most + 1)
    if len(content) > most:
        what = "pictures" if format_ == _ZIP else "rows"
        raise InvalidRequest(
            f"{path} has {path.stat().st_size:,} bytes, and a worker predicts for at most "
            f"{most:,} at once: send fewer {what}, or {_HERE}"
        )
    return PredictionTable(format=format_, content=content)


def _packed(path: Path) -> bytes:
    """Return a zip archive of a picture, or of those in a folder and the folders in it.

    Raises:
        InvalidRequest: There are none, or they have too many bytes.
        OSError: One cannot be read.
    """
    files = [path]
    if path.is_dir():
        files = images_below(path)
    if not files:
        raise InvalidRequest(f"{path} holds no pictures: they end in {', '.join(IMAGE_ENDINGS)}")
    total = sum(each.stat().st_size for each in files)
    if total > MAX_PICTURES_BYTES:
        raise InvalidRequest(_too_many(path, len(files), total))
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for each in files:
            name = each.relative_to(path).as_posix() if path.is_dir() else each.name
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), each.read_bytes())
    content = sink.getvalue()
    if len(content) > MAX_PICTURES_BYTES:
        raise InvalidRequest(_too_many(path, len(files), len(content)))
    return content


def _too_many(path: Path, count: int, num_bytes: int) -> str:
    holds = (
        f"holds {count:,} pictures of {num_bytes:,} bytes"
        if path.is_dir()
        else f"has {num_bytes:,} bytes"
    )
    return (
        f"{path} {holds}, and a worker predicts for at most {MAX_PICTURES_BYTES:,} at once: send "
        f"fewer or smaller pictures, or {_HERE}"
    )


def _format(path: Path, what: str) -> PredictionTable.Format.ValueType:
    try:
        return format_of(path.suffix)
    except ValueError as error:
        raise InvalidRequest(
            f"{path}: predict can {what} {', '.join(ENDINGS.values())}"
            f"{' and pictures' if what == 'read' else ''}, but got {path.suffix or 'no ending'}"
        ) from error


def _write(content: bytes, target: Path) -> None:
    with written_aside(target) as aside:
        aside.write_bytes(content)


def _frame(columns: dict[str, list[Any]], asked: Any) -> Any:
    """Return a data frame with the index of the one that was asked about."""
    import pandas as pd

    return pd.DataFrame(columns, index=asked.index)


def _columns(response: PredictResponse) -> dict[str, list[Any]]:
    """Return the columns of a table that came as CSV."""
    rows = csv.reader(io.StringIO(response.table.content.decode(), newline=""))
    names = next(rows)
    texts = set(response.text_columns)
    read: Sequence[Callable[[str], Any]] = [str if n in texts else _number for n in names]
    values = [[convert(field) for convert, field in zip(read, row, strict=True)] for row in rows]
    return {name: [row[index] for row in values] for index, name in enumerate(names)}


def _number(field: str) -> int | float:
    try:
        return int(field)
    except ValueError:
        return float(field) if field else float("nan")


def _csv(columns: Mapping[Any, Any]) -> bytes:
    lists = {str(name): list(values) for name, values in columns.items()}
    lengths = {name: len(values) for name, values in lists.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise InvalidRequest(f"all columns must have as many values, but {told}")
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(lists)
    for row in zip(*lists.values(), strict=True):
        writer.writerow(["" if value is None or value != value else value for value in row])
    return text.getvalue().encode()


def _npz(array: Any) -> bytes:
    numpy = _numpy()
    content = io.BytesIO()
    values = numpy.asarray(array)
    if values.dtype == object:
        raise InvalidRequest(
            "an array must hold numbers, and all rows must have one length: give a data frame or "
            "a mapping of columns where there are texts"
        )
    numpy.savez_compressed(content, x=values)
    return content.getvalue()


def _array(response: PredictResponse) -> Any:
    with _numpy().load(io.BytesIO(response.table.content), allow_pickle=False) as arrays:
        return arrays[ARRAY]


def _arrays(response: PredictResponse) -> dict[str, Any]:
    with _numpy().load(io.BytesIO(response.table.content), allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _numpy() -> Any:
    try:
        import numpy
    except ModuleNotFoundError as error:
        raise MissingExtra(
            "to send an array needs numpy, which is not installed here. Give a mapping of columns "
            "to lists, or install it with: pip install numpy",
            reason="MISSING_EXTRA",
        ) from error
    return numpy
