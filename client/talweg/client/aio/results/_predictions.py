# Made by client/make_asyncio.py from ../../results/_predictions.py: change that module.
"""Predictions that a worker computes: tables and arrays are sent as files, and so come back."""

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from talweg.client._errors import InvalidRequest
from talweg.client.results._predictions import (
    _CSV,
    _NPZ,
    _SECONDS,
    _array,
    _columns,
    _csv,
    _format,
    _npz,
    _of_file,
)
from talweg.spec import drop_control
from talweg.spec.predictions import MAX_TABLE_BYTES
from talweg.v1.predictions_pb2 import PredictionTable, PredictRequest, PredictResponse

if TYPE_CHECKING:
    from talweg.client.aio._connection import Connection


async def predict(connection: "Connection", job: str, data: Any) -> Any:
    """Predict for a table or an array; see `Job.predict`.

    Raises:
        InvalidRequest: The data are too large, or do not fit the model.
        MissingExtra: An array needs NumPy.
        TalwegError: Another error of the server.
        OSError: A file cannot be read.
    """
    if isinstance(data, (str, os.PathLike)):
        table = _of_file(Path(data))
        if table.format == _NPZ:
            return _array(
                await _called(connection, PredictRequest(job=job, table=table), as_array=True)
            )
        return _columns(await _called(connection, PredictRequest(job=job, table=table)))
    if isinstance(data, Mapping):
        table = PredictionTable(format=_CSV, content=_csv(data))
        return _columns(await _called(connection, PredictRequest(job=job, table=table)))
    if hasattr(data, "to_csv") and hasattr(data, "index"):
        return await _frame(connection, job, data)
    table = PredictionTable(format=_NPZ, content=_npz(data))
    return _array(await _called(connection, PredictRequest(job=job, table=table), as_array=True))


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
        table=_of_file(source),
        id_column=id_column,
        output_format=_format(target, "write"),
    )
    response = await _called(connection, request)
    part = target.with_name(f".{target.name}.part")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        part.write_bytes(response.table.content)
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
    return response.num_rows


async def _called(
    connection: "Connection", request: PredictRequest, *, as_array: bool = False
) -> PredictResponse:
    num_bytes = len(request.table.content)
    if num_bytes > MAX_TABLE_BYTES:
        raise InvalidRequest(
            f"a worker predicts for at most {MAX_TABLE_BYTES:,} bytes of rows at once, but these "
            f"have {num_bytes:,}: send fewer rows, or compute here without --remote or remote=True"
        )
    if as_array:
        request.as_array, request.output_format = True, _NPZ
    response = await connection.call(connection.predictions.Predict, request, at_least=_SECONDS)
    for note in response.notes:
        # As the model itself says it where it predicts on this machine.
        warnings.warn(drop_control(note), UserWarning, stacklevel=4)
    return response


async def _frame(connection: "Connection", job: str, frame: Any) -> Any:
    """Predict for a data frame of pandas; the result has its index."""
    import pandas as pd

    if isinstance(frame.columns, pd.RangeIndex):
        # Columns that pandas has numbered itself have no names.
        table = PredictionTable(format=_NPZ, content=_npz(frame.to_numpy()))
    else:
        table = PredictionTable(format=_CSV, content=frame.to_csv(index=False).encode())
    response = await _called(connection, PredictRequest(job=job, table=table))
    return pd.DataFrame(_columns(response), index=frame.index)
