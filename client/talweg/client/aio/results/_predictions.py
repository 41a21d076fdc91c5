# Made by client/make_asyncio.py from ../../results/_predictions.py: change that module.
"""Predictions that a worker computes: tables, arrays and pictures are sent as files."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from talweg.client._errors import InvalidRequest
from talweg.client.results._predictions import (
    _HERE,
    _IMAGES,
    _MASKS,
    _NPZ,
    _SECONDS,
    _ZIP,
    _array,
    _arrays,
    _columns,
    _format,
    _frame,
    _is_frame,
    _of_file,
    _table_of,
    _write,
)
from talweg.spec import drop_control
from talweg.spec.predictions import most_bytes
from talweg.v1.predictions_pb2 import PredictRequest, PredictResponse

if TYPE_CHECKING:
    from talweg.client.aio._connection import Connection


async def predict(connection: "Connection", job: str, data: Any, *, task: str = "") -> Any:
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
    table = await connection.work(_table_of, data)
    of_pictures = table.format == _ZIP
    as_array = (table.format == _NPZ and not _is_frame(data)) or (of_pictures and task == _IMAGES)
    request = PredictRequest(job=job, table=table)
    if of_pictures and task == _MASKS:
        request.output_format = _NPZ
    response = await _called(connection, request, as_array=as_array)
    if as_array:
        return await connection.work(_array, response)
    if request.output_format == _NPZ:
        return await connection.work(_arrays, response)
    columns = await connection.work(_columns, response)
    return _frame(columns, data) if _is_frame(data) else columns


async def predict_file(
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
        table=await connection.work(_of_file, source),
        id_column=id_column,
        output_format=_format(target, "write"),
    )
    response = await _called(connection, request)
    await connection.work(_write, response.table.content, target)
    return response.num_rows


async def _called(
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
    response = await connection.call(connection.predictions.Predict, request, at_least=_SECONDS)
    for note in response.notes:
        # As the model itself says it where it predicts on this machine.
        warnings.warn(drop_control(note), UserWarning, stacklevel=4)
    return response
