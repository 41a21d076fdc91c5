"""A trained model as its user has it: called with tensors, or asked with tables and arrays.

The client loads it by the entry point `model` of the group `talweg.offers`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from talweg.spec import kind
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.artifacts import prediction_files
from talweg.worker.artifacts.image_files import Pictures, are_images, read_images
from talweg.worker.artifacts.output_names import output_names
from talweg.worker.artifacts.picture_predictions import boxes_of, masks_of, write_masks
from talweg.worker.artifacts.predictor import Predictor, load_example
from talweg.worker.artifacts.talweg_outputs import named
from talweg.worker.data.stored.talweg_table import TableError
from talweg.worker.errors import WorkerError
from talweg.worker.models import saved

_BATCH = 1024
_MOST_SHOWN = 5
_BOXES, _MASKS = "detection", "segmentation"
_FOREGROUND = ("background", "foreground")


class InputError(WorkerError, ValueError):
    """What a model is asked about does not fit it."""


@dataclass(frozen=True)
class WrittenPredictions:
    """What a file of predictions holds."""

    num_rows: int
    """How many predictions."""
    text_columns: tuple[str, ...]
    """The columns whose values are texts; of arrays none."""


class TrainedModel(nn.Module):
    """A trained model with its pre- and postprocessing, in evaluation mode on the CPU.

    Called with float32 inputs (N, *input_shape) as they come from the data, it returns predictions
    as `talweg.worker.artifacts.predictor.Predictor` does: numbers in the target's units,
    probabilities, boxes in pixels. `predict` takes tables and arrays.
    """

    def __init__(self, model: Predictor, shape: tuple[int, ...], names: Mapping[str, Any]) -> None:
        """Wrap a predictor.

        Args:
            model: The network and its postprocessor.
            shape: Of one input.
            names: What its outputs are called.
        """
        super().__init__()
        self._model = model
        self.output_names = names
        """What its outputs are called, as `talweg.worker.artifacts.output_names` says."""
        self.input_shape = shape
        """The shape of one input."""
        self.input_names: tuple[str, ...] = (
            tuple(model.input_names) if shape == (len(model.input_names),) else ()
        )
        """The columns that it reads, in their order; empty where inputs have no names."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes or labels, in the order of the probabilities; empty without."""
        return tuple(self.output_names.get("classes") or self.output_names.get("labels") or ())

    def forward(self, x: Tensor) -> Tensor:
        """Predict; see the class."""
        predictions: Tensor = self._model(x)
        return predictions

    def predict(self, data: Any) -> Any:
        """Predict for a table, an array, or the path of a file.

        Args:
            data: A data frame with the columns `input_names`, in any order, others are left out; a
                mapping of columns; an array or nested lists (N, *input_shape), which may be
                flattened; the path of a CSV, Parquet or npz file; or that of a picture, or of a
                folder or a zip archive of pictures, which are resized.

        Returns:
            Of a table a data frame with its index, of pictures one by their names: `prediction`,
            and `probability_CLASS` of each class; else an array. Of pictures a detector gives a
            data frame with a row for each box: `prediction`, `score`, and `x1`, `y1`, `x2`, `y2`
            in the picture's own pixels; and a segmentation masks by the pictures' names, in their
            own sizes.

        Raises:
            InputError: Columns are missing, values are no numbers, or the shape does not fit.
            ValueError: The file's format is unknown, or it cannot be read.
            OSError: The file cannot be read.
        """
        index = None
        if isinstance(data, (str, Path)):
            if are_images(Path(data)) and self._of_images:
                return self._of_pictures(self._pictures(Path(data)))
            file = self._read(Path(data))
            data, index = file.inputs, file.names
        if isinstance(data, Mapping):
            data = pd.DataFrame(data)
        if isinstance(data, pd.DataFrame):
            index = data.index
        predicted = self._predict(self._inputs(data))
        if index is not None and predicted.ndim <= 2:
            return named(predicted, self.output_names, index)
        return predicted

    def predict_file(self, source: Path, target: Path, *, id_column: str = "") -> int:
        """Predict for a file and write the predictions to another; return the number of rows.

        As `write_predictions`.
        """
        return self.write_predictions(source, target, id_column=id_column).num_rows

    def write_predictions(
        self, source: Path, target: Path, *, id_column: str = ""
    ) -> WrittenPredictions:
        """Predict for a file, and write the predictions to another.

        Args:
            source: A .csv, .tsv, .parquet or .npz file; a picture, or a folder or a .zip archive
                of pictures.
            target: A .csv, .tsv, .parquet or .npz file; there whole or not at all. Masks of
                pictures go to a .zip or .npz file.
            id_column: A column, or an array, that is copied. If empty, the one that named the
                rows of the training data, where the file has it. Of pictures their names always
                are, as `file`.

        Raises:
            InputError: The content does not fit the model, or the column is not there.
            ValueError: A format is unknown, or does not hold such predictions.
            OSError: A file cannot be read or written.
        """
        is_of_pictures = are_images(source) and bool(self._of_images)
        masks = is_of_pictures and self._of_images == _MASKS
        prediction_files.check_target(target, masks=masks)
        if is_of_pictures:
            return self._write_of_pictures(self._pictures(source), target)
        table = self._read(source, id_column)
        predicted = self.predict(table.inputs)
        if not isinstance(predicted, pd.DataFrame) and predicted.ndim <= 2:
            predicted = named(predicted, self.output_names, None)
        prediction_files.write(predicted, target, ids=table.ids)
        texts = prediction_files.text_columns(predicted, table.ids)
        return WrittenPredictions(len(predicted), texts)

    def predict_array(self, source: Path) -> NDArray[Any]:
        """Predict for a file, and return the model's output as it is.

        Args:
            source: As of `write_predictions`.

        Raises:
            InputError: The content does not fit the model.
            ValueError: The format is unknown, or it cannot be read.
            OSError: The file cannot be read.
        """
        return self._predict(self._inputs(self._read(source).inputs))

    @property
    def _of_images(self) -> str:
        """The task of a model that finds something in pictures: boxes or masks; else empty."""
        task = str(self._model.description.get("task", ""))
        return task if task in (_BOXES, _MASKS) else ""

    def _pictures(self, path: Path) -> Pictures:
        return read_images(path, self.input_shape)

    def _of_pixels(self, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        """Return what the network takes of pictures."""
        takes_bytes = self._model.description["inputs"].get("from_bytes")
        return pixels if takes_bytes else pixels.astype(np.float32) / np.float32(255)

    def _of_pictures(self, pictures: Pictures) -> Any:
        """Return boxes or masks of pictures; see `predict`."""
        predicted = self._predict(self._inputs(self._of_pixels(pictures.pixels)))
        if self._of_images == _BOXES:
            return boxes_of(predicted, pictures, self.classes, self.input_shape[1:])
        return masks_of(predicted, pictures, self.output_names["threshold"])

    def _write_of_pictures(self, pictures: Pictures, target: Path) -> WrittenPredictions:
        found = self._of_pictures(pictures)
        if self._of_images == _MASKS:
            write_masks(found, target, self.classes)
            return WrittenPredictions(len(found), ())
        ids = found.index.to_series()
        prediction_files.write(found, target, ids=ids)
        texts = prediction_files.text_columns(found, ids)
        return WrittenPredictions(len(found), texts)

    def _read(self, path: Path, id_column: str = "") -> prediction_files.InputFile:
        """Read a file as the data were read that the model has learnt from."""
        if are_images(path):
            pictures = self._pictures(path)
            index = pd.Index(pictures.names, name="file")
            inputs = self._of_pixels(pictures.pixels)
            return prediction_files.InputFile(inputs, index.to_series(), index)
        table = self._model.table
        if table is None:
            return prediction_files.read(path, id_column=id_column)
        texts = [column.name for column in table.columns if column.values]
        return prediction_files.read(
            path,
            id_column=id_column,
            usual_id=table.id_column,
            texts=texts,
            missing=table.missing,
            columns=[column.name for column in table.columns],
        )

    def _predict(self, inputs: NDArray[np.float32]) -> NDArray[Any]:
        with torch.inference_mode():
            parts = [self._model(torch.from_numpy(part)).numpy() for part in _batches(inputs)]
        return np.concatenate(parts)

    def _inputs(self, data: Any) -> NDArray[np.float32]:
        """Return what the network takes of what people have.

        The one place where raw columns become inputs.
        """
        try:
            # What is too large for float32 is named below.
            with np.errstate(over="ignore"):
                if isinstance(data, pd.DataFrame) and self._model.table is None:
                    data = self._columns(data)
                values = self._model.encode(data).numpy()
        except InputError:
            raise
        except TableError as exc:
            raise InputError(str(exc)) from exc
        except (TypeError, ValueError) as exc:
            raise InputError(
                f"the inputs must be numbers, and all rows of one length: {exc}"
            ) from exc
        num_inputs = int(np.prod(self.input_shape))
        if values.ndim == 2 and values.shape[1] == num_inputs:
            values = values.reshape(-1, *self.input_shape)
        if values.ndim == 0 or values.shape[1:] != self.input_shape:
            wanted = ", ".join(str(size) for size in ("N", *self.input_shape))
            raise InputError(
                f"the inputs must have the shape ({wanted}), one row per sample, but have "
                f"{values.shape}"
            )
        if not len(values):
            raise InputError("the inputs have no rows: give at least one")
        _check_finite(values)
        return np.ascontiguousarray(values)

    def _columns(self, frame: pd.DataFrame) -> NDArray[np.float32]:
        # Columns that pandas has numbered itself have no names.
        if self.input_names and not isinstance(frame.columns, pd.RangeIndex):
            missing = [name for name in self.input_names if name not in frame.columns]
            if missing:
                raise InputError(
                    f"the columns {', '.join(missing)} are missing: this model reads "
                    f"{', '.join(self.input_names)}, and the table has "
                    f"{', '.join(map(str, frame.columns))}"
                )
            frame = frame[list(self.input_names)]
        columns = [_numbers(frame[name], str(name)) for name in frame.columns]
        return np.stack(columns, axis=1) if columns else np.zeros((len(frame), 0), np.float32)


def load(folder: Path, spec: JobSpec) -> TrainedModel:
    """Load a model from the files of a job.

    Args:
        folder: Holds `model.json` and `weights.safetensors`.
        spec: The job's, filled.

    Raises:
        ValueError: The description is of no known format.
        OSError: A file cannot be read.
    """
    model = saved.load(folder)
    network, example = Predictor(model).eval(), load_example(folder)
    with torch.inference_mode():
        outputs = network(example)
    _, task = kind(spec.task)
    threshold = getattr(task, "threshold", 0.5)
    count = outputs.shape[-1] if outputs.ndim == 2 else 0
    description = model.description
    names = output_names(description, count, threshold=threshold)
    if description["task"] in (_BOXES, _MASKS):
        one = description["task"] == _MASKS and outputs.shape[1] == 1
        classes = _FOREGROUND if one else description["targets"]["names"]
        names |= {"classes": list(classes), "threshold": threshold}
    return TrainedModel(network, tuple(example.shape[1:]), names).eval()


def _batches(inputs: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    for start in range(0, len(inputs), _BATCH):
        yield inputs[start : start + _BATCH]


def _check_finite(values: NDArray[np.float32]) -> None:
    """Refuse what a model would answer with NaN, or with a class that means nothing.

    Rows are counted from 1 behind the header, as in all that people read.
    """
    finite = np.isfinite(values).reshape(len(values), -1).all(axis=1)
    wrong = np.flatnonzero(~finite)
    if len(wrong):
        some = ", ".join(str(row + 1) for row in wrong[:_MOST_SHOWN])
        more = f" and {len(wrong) - _MOST_SHOWN} more" if len(wrong) > _MOST_SHOWN else ""
        raise InputError(
            "the inputs must be finite, in the float32 that the model computes in, but have NaN "
            f"or infinity in row {some}{more}"
        )


def _numbers(column: "pd.Series[Any]", name: str) -> NDArray[np.float32]:
    numbers = pd.to_numeric(column, errors="coerce")
    values = numbers.to_numpy(dtype=np.float64, na_value=np.nan)
    wrong = np.flatnonzero(np.isnan(values))
    if len(wrong):
        some = "; ".join(
            f"row {row + 1} has "
            f"{'nothing' if pd.isna(column.iloc[row]) else repr(column.iloc[row])}"
            for row in wrong[:_MOST_SHOWN]
        )
        more = f", and {len(wrong) - _MOST_SHOWN} more" if len(wrong) > _MOST_SHOWN else ""
        raise InputError(f"the column {name} must hold numbers alone, but {some}{more}")
    narrow: NDArray[np.float32] = values.astype(np.float32)
    return narrow
