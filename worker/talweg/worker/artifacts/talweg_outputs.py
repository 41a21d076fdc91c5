"""What a model says, with names; stored as source beside each model in MLflow.

It runs where Talweg is not installed: it imports nothing of Talweg.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd


def named(predicted: Any, outputs: Mapping[str, Any], index: Any) -> pd.DataFrame:
    """Give names to what a model says, and of classes the most probable one.

    Args:
        predicted: (N, numbers of a row).
        outputs: What they are. `kind` numbers: `columns` names them. binary, multiclass, ordinal:
            `classes`, in their order; binary has the probability of the second alone. multilabel:
            `labels`, a probability each. `threshold`: from which probability on the second
            class, or a label, is what is predicted.
        index: The rows' names; None for numbers from 0.

    Returns:
        Of classes `prediction` and a `probability_` of each class; of labels a `prediction_` of 0
        or 1 and a `probability_` of each; of numbers what names them. Where a probability is NaN
        the prediction is missing.
    """
    numbers = np.asarray(predicted)
    numbers = numbers.reshape(len(numbers), -1)
    kind, threshold = outputs["kind"], outputs.get("threshold", 0.5)
    if kind == "numbers":
        return pd.DataFrame(numbers, columns=outputs["columns"], index=index)
    if kind == "multilabel":
        each = list(zip(outputs["labels"], numbers.T, strict=True))
        columns = {f"prediction_{name}": _decided(p, threshold) for name, p in each}
        columns |= {f"probability_{name}": p for name, p in each}
        return pd.DataFrame(columns, index=index)
    classes = outputs["classes"]
    if kind == "binary":
        best = (numbers[:, 0] >= threshold).astype(int)
        numbers = np.concatenate([1 - numbers, numbers], axis=1)
    elif kind == "ordinal":
        # As in evaluation: the number of ranks that are more likely passed than not.
        above = 1 - np.cumsum(numbers, axis=1)[:, :-1]
        best = (above > 0.5).sum(axis=1)
    else:
        best = numbers.argmax(axis=1)
    predictions = np.array(classes, dtype=object)[best]
    predictions[np.isnan(numbers).any(axis=1)] = None
    columns = {"prediction": predictions}
    columns |= {f"probability_{name}": p for name, p in zip(classes, numbers.T, strict=True)}
    return pd.DataFrame(columns, index=index)


def _decided(probability: Any, threshold: float) -> Any:
    """Return 0 or 1 each, integers where all of them are."""
    decided = (probability >= threshold).astype(int)
    unknown = np.isnan(probability)
    return np.where(unknown, np.nan, decided) if unknown.any() else decided
