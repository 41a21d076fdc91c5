"""What a model's outputs are called in a table: the prediction, and what belongs to it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

PREDICTION = "prediction"
_PROBABILITY = "probability_"
_OF_CLASSES = ("binary", "multiclass", "ordinal")


@dataclass(frozen=True)
class Names:
    """How outputs become the columns of a table."""

    task: str
    """Member of Task."""
    classes: tuple[str, ...] = ()
    """The classes, ranks or labels, in the order of the outputs."""
    columns: tuple[str, ...] = ()
    """The names of outputs that are numbers."""
    threshold: float = 0.5
    """The probability from which on the second class, or a label, is predicted."""

    def frame(self, outputs: NDArray[Any], index: Any) -> pd.DataFrame:
        """Return outputs (N,) or (N, K) as a table: `prediction`, and a probability per class.

        Args:
            outputs: As the model gives them.
            index: Of the rows; numbers from 0 if None.
        """
        outputs = outputs.reshape(len(outputs), -1)
        if self.task == "multilabel":
            each = list(zip(self.classes, outputs.T, strict=True))
            columns: dict[str, Any] = {
                f"{PREDICTION}_{name}": (p >= self.threshold).astype(int) for name, p in each
            }
            columns |= {f"{_PROBABILITY}{name}": p for name, p in each}
            return pd.DataFrame(columns, index=index)
        if self.task not in _OF_CLASSES:
            return pd.DataFrame(outputs, columns=list(self.columns), index=index)
        if self.task == "binary":
            best = (outputs[:, 0] >= self.threshold).astype(int)
            outputs = np.concatenate([1 - outputs, outputs], axis=1)
        elif self.task == "ordinal":
            # As in evaluation: the number of ranks that are more likely passed than not.
            best = ((1 - np.cumsum(outputs, axis=1)[:, :-1]) > 0.5).sum(axis=1)
        else:
            best = outputs.argmax(axis=1)
        columns = {PREDICTION: np.array(self.classes, dtype=object)[best]}
        columns |= {
            f"{_PROBABILITY}{name}": p for name, p in zip(self.classes, outputs.T, strict=True)
        }
        return pd.DataFrame(columns, index=index)


def names_of(description: Mapping[str, Any], num_outputs: int, threshold: float) -> Names:
    """Return the names of a model's outputs.

    Args:
        description: What `model.json` holds.
        num_outputs: Outputs per row; 0 where an output is no row of numbers.
        threshold: The task's, where it has one.
    """
    task = str(description["task"])
    targets = [str(name) for name in description["targets"]["names"]]
    if task in (*_OF_CLASSES, "multilabel"):
        count = 2 if task == "binary" else num_outputs
        # Names of numbers are none of classes.
        classes = targets if len(targets) == count else [str(index) for index in range(count)]
        return Names(task, classes=tuple(classes), threshold=threshold)
    if task == "regression" and num_outputs:
        columns = _numbers(str(description["prediction"]["kind"]), targets, num_outputs)
        return Names(task, columns=tuple(columns))
    return Names(task, columns=tuple(f"output_{index}" for index in range(num_outputs)))


def _numbers(kind: str, targets: Sequence[str], num_outputs: int) -> list[str]:
    """Name the numbers of a regression: of one target `prediction`, of several each by its own."""
    named = [f"{PREDICTION}_{name}" for name in targets] if len(targets) > 1 else [PREDICTION]
    parts = {
        "mean_and_sd": ("", "_sd"),
        "mean_and_variances": ("", "_aleatoric_variance", "_epistemic_variance"),
    }.get(kind)
    if parts is None:
        count = num_outputs // len(named)
        parts = ("",) if count == 1 else tuple(f"_{index}" for index in range(count))
    if len(named) * len(parts) != num_outputs:
        return [f"output_{index}" for index in range(num_outputs)]
    return [f"{name}{part}" for name in named for part in parts]
