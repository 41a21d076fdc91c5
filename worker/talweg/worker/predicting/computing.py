"""Loads a model and predicts: `python -m talweg.worker.predicting.computing PARENT FOLDER MEMORY
SECONDS`, with limits on memory, in bytes, and time.

What the table or the model is at fault for is a result, as are predictions. The status is not 0
where this process broke on either.
"""

import errno
import math
import resource
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from talweg.spec.predictions import ARRAY, ENDINGS
from talweg.v1.workers_pb2 import FinishPredictionRequest, TakePredictionResponse
from talweg.worker.confinement.apart import live_apart
from talweg.worker.confinement.confining import confine_unless_off
from talweg.worker.errors import UserSpecError
from talweg.worker.parents import die_with_parent
from talweg.worker.predicting import folder as files

if TYPE_CHECKING:
    from talweg.worker.artifacts.trained import TrainedModel

Failure = FinishPredictionRequest.Failure

_CPU_FACTOR = 2
_MOST_WRITTEN = 64 * 1024 * 1024
_MOST_CHARS = 2000
_MOST_NOTES = 20


def main() -> None:
    """Predict for the table in a folder."""
    parent, folder, memory_bytes, seconds = sys.argv[1:]
    die_with_parent(int(parent))
    _set_limits(int(memory_bytes), float(seconds))
    # The model may be a plug-in's.
    live_apart()
    confine_unless_off(writable=[Path(folder)])
    result = compute(Path(folder))
    (Path(folder) / files.RESULT).write_bytes(result.SerializeToString())


def compute(folder: Path) -> FinishPredictionRequest:
    """Write predictions into a folder, and return the result without them.

    Args:
        folder: Holds what `talweg.worker.predicting.folder` names.

    Raises:
        MemoryError: There is not enough memory.
    """
    # Below the limits, as this takes memory itself.
    import torch  # noqa: PLC0415 - as above

    from talweg.worker.artifacts import trained  # noqa: PLC0415 - as above

    torch.set_num_threads(1)
    order = TakePredictionResponse.FromString((folder / files.ORDER).read_bytes())
    result = FinishPredictionRequest()
    try:
        model = trained.load(folder / files.MODEL, order.spec)
    except (ValueError, OSError) as exc:
        result.failure.kind = Failure.MODEL
        result.failure.message = _text(exc, folder, f"the model of {order.request.job}: ")
        return result
    try:
        _predict(model, order, folder, result)
    except UserSpecError as exc:
        # Of a plug-in's network.
        result.failure.kind = Failure.MODEL
        result.failure.message = _text(exc, folder)
    except ValueError as exc:
        result.failure.kind = Failure.TABLE
        result.failure.message = _text(exc, folder)
    except OSError as exc:
        if exc.errno != errno.EFBIG:
            raise
        result.failure.kind = Failure.TOO_LARGE
        result.failure.message = (
            f"the predictions take more than {_MOST_WRITTEN:,} bytes: send fewer rows at once"
        )
    return result


def _predict(
    model: "TrainedModel",
    order: TakePredictionResponse,
    folder: Path,
    result: FinishPredictionRequest,
) -> None:
    # Not with the imports, which are below the limits too.
    from talweg.worker.data.stored.talweg_table import UnknownCategories  # noqa: PLC0415

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", UnknownCategories)
        _write_predictions(model, order, folder, result)
    notes = [str(each.message) for each in said if each.category is UnknownCategories]
    result.response.notes.extend(note[:_MOST_CHARS] for note in notes[:_MOST_NOTES])


def _write_predictions(
    model: "TrainedModel",
    order: TakePredictionResponse,
    folder: Path,
    result: FinishPredictionRequest,
) -> None:
    import numpy as np  # noqa: PLC0415 - below the limits

    request = order.request
    source = folder / f"{files.TABLE}{ENDINGS[request.table.format]}"
    target = folder / f"{files.PREDICTIONS}{ENDINGS[request.output_format]}"
    if request.as_array:
        predicted = model.predict_array(source)
        np.savez_compressed(target, allow_pickle=False, **{ARRAY: predicted})
        result.response.num_rows = len(predicted)
        return
    written = model.write_predictions(source, target, id_column=request.id_column)
    result.response.num_rows = written.num_rows
    result.response.text_columns.extend(written.text_columns)


def _text(error: Exception, folder: Path, before: str = "") -> str:
    """Return what an error says, without the place of the folder on this machine."""
    text = str(error) or type(error).__name__
    return (before + text.replace(f"{folder}/", ""))[:_MOST_CHARS]


def _set_limits(memory_bytes: int, seconds: float) -> None:
    # What it writes to, and not address space: PyTorch maps far more than it uses.
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    cpu = math.ceil(seconds * _CPU_FACTOR)
    # The signal that says so comes a second before the one that says nothing.
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # A small file of equal values may have very many rows.
    resource.setrlimit(resource.RLIMIT_FSIZE, (_MOST_WRITTEN, _MOST_WRITTEN))


if __name__ == "__main__":
    main()
