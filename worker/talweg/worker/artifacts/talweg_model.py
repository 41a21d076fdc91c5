"""How MLflow's pyfunc predicts with a model of Talweg; stored as source beside each model.

It runs where Talweg is not installed: it imports what the model requires, and nothing of Talweg.
"""

import importlib
import math
from pathlib import Path
from typing import Any

import mlflow.pytorch
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import Model


class TalwegModel:
    """A model that takes what people have: data frames, arrays of any numbers, nested lists."""

    def __init__(
        self, model: Any, metadata: dict[str, Any], named: Any, table: Any = None
    ) -> None:
        """Wrap MLflow's own wrapper of an exported program.

        Args:
            model: Takes float32 arrays (N, *shape).
            metadata: `inputs`: the shape of one input, names of its columns (empty where they have
                none), and whether they were bytes. `outputs`, where they have names.
            named: Gives them their names.
            table: Makes inputs of raw columns, where the model was trained on such.
        """
        inputs = metadata["inputs"]
        self._model = model
        self._shape = tuple(inputs["shape"])
        self._names = inputs["names"]
        self._from_bytes = inputs.get("from_bytes", False)
        self._outputs = metadata.get("outputs") or {}
        self._named = named
        self._table = table

    def get_raw_model(self) -> Any:
        """Return the exported program."""
        return self._model.get_raw_model()

    def predict(self, data: Any, params: dict[str, Any] | None = None) -> Any:
        """Predict; a data frame gives one with the same index where outputs are rows of numbers.

        Args:
            data: A data frame with the model's columns, in any order; or numbers (N, *shape), as
                an array or nested lists, flattened to (N, numbers of an input) if you like. Of a
                model of a table the columns are the table's: numbers, texts and dates as they
                came, nothing where a value is missing. Rows without names are in their order.
            params: Taken by no model.

        Returns:
            Numbers; of a model of a user's data, where they have names, a data frame.

        Raises:
            MlflowException: The columns or the shape do not fit, or something is no number.
        """
        predicted = self._model.predict(self._batch(data), params)
        if self._outputs:
            index = data.index if isinstance(data, pd.DataFrame) else None
            return self._named(predicted, self._outputs, index)
        if isinstance(data, pd.DataFrame) and predicted.ndim <= 2:
            return pd.DataFrame(predicted, index=data.index)
        return predicted

    def _batch(self, data: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
        if self._table is not None:
            data = self._encoded(data)
        if isinstance(data, dict):
            data = pd.DataFrame(data)
        if isinstance(data, pd.DataFrame):
            data = self._in_order(data)
        try:
            values = np.asarray(data)
            # As nested lists or JSON, bytes come as whole numbers of another type.
            is_bytes = self._from_bytes and values.dtype.kind in "ui"
            values = values.astype(np.float32)
            values = values / np.float32(255) if is_bytes else values
        except (TypeError, ValueError) as exc:
            raise MlflowException.invalid_parameter_value(
                f"The inputs are not all numbers, or rows differ in length: {exc}."
            ) from exc
        if values.ndim == 2 and values.shape[1] == math.prod(self._shape):
            values = values.reshape(-1, *self._shape)
        if values.shape[1:] != self._shape or values.ndim == 0:
            wanted = ", ".join(str(size) for size in ("N", *self._shape))
            raise MlflowException.invalid_parameter_value(
                f"The inputs have the shape {values.shape}; this model takes ({wanted}), "
                "one row an example."
            )
        return np.ascontiguousarray(values)

    def _encoded(self, data: Any) -> Any:
        """Return a table's raw columns as numbers."""
        try:
            return self._table.encode(data)
        except ValueError as exc:
            raise MlflowException.invalid_parameter_value(
                f"The table does not fit: {exc}."
            ) from exc

    def _in_order(self, frame: pd.DataFrame) -> pd.DataFrame:
        # Columns that pandas numbered itself have no names.
        if not self._names or isinstance(frame.columns, pd.RangeIndex):
            return frame
        missing = [name for name in self._names if name not in frame.columns]
        if missing:
            raise MlflowException.invalid_parameter_value(
                f"The data frame lacks the columns {missing}; this model takes {self._names}."
            )
        return frame[self._names]


def _load_pyfunc(path: str, model_config: dict[str, Any] | None = None) -> TalwegModel:
    """Load a model; called by MLflow."""
    metadata = Model.load(str(Path(path).parent)).metadata or {}
    model = mlflow.pytorch._load_pyfunc(path, model_config)
    # Stored beside this file.
    named = importlib.import_module("talweg_outputs").named
    table = None
    if "table" in metadata:
        table = importlib.import_module("talweg_table").Table.of(metadata["table"])
    return TalwegModel(model, metadata, named, table)
