"""How MLflow's pyfunc predicts with a model of Talweg; stored as source beside each model.

It runs where Talweg is not installed: it imports what the model requires, and nothing of Talweg.
"""

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

    def __init__(self, model: Any, shape: list[int], names: list[str]) -> None:
        """Wrap MLflow's own wrapper of an exported program.

        Args:
            model: Takes float32 arrays (N, *shape).
            shape: Of one input.
            names: Of its columns; empty where they have none.
        """
        self._model = model
        self._shape = tuple(shape)
        self._names = names

    def get_raw_model(self) -> Any:
        """Return the exported program."""
        return self._model.get_raw_model()

    def predict(self, data: Any, params: dict[str, Any] | None = None) -> Any:
        """Predict; a data frame gives one with the same index where outputs are rows of numbers.

        Args:
            data: A data frame with the model's columns, in any order; or numbers (N, *shape), as
                an array or nested lists, flattened to (N, numbers of an input) if you like.
            params: Taken by no model.

        Raises:
            MlflowException: The columns or the shape do not fit, or something is no number.
        """
        predicted = self._model.predict(self._batch(data), params)
        if isinstance(data, pd.DataFrame) and predicted.ndim <= 2:
            return pd.DataFrame(predicted, index=data.index)
        return predicted

    def _batch(self, data: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
        if isinstance(data, dict):
            data = pd.DataFrame(data)
        if isinstance(data, pd.DataFrame):
            data = self._in_order(data)
        try:
            values = np.asarray(data, dtype=np.float32)
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
    inputs = (Model.load(str(Path(path).parent)).metadata or {})["inputs"]
    model = mlflow.pytorch._load_pyfunc(path, model_config)
    return TalwegModel(model, inputs["shape"], inputs["names"])
