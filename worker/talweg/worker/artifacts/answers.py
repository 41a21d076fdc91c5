"""What the numbers that a model of a user's data gives are called.

Models of built-in data give plain numbers, as they always did.
"""

from collections.abc import Mapping
from typing import Any

_OF_CLASSES = ("binary", "multiclass", "ordinal")
_PROBABILITY = "probability_"
PREDICTION = "prediction"


def answers(description: Mapping[str, Any], num_outputs: int) -> dict[str, Any]:
    """Say how the numbers of a row are to be read; see `talweg_model.named`.

    Args:
        description: What `model.json` holds.
        num_outputs: The numbers of a row that the model gives.

    Returns:
        JSON values: `kind`, and the names that go with it; nothing where rows are no numbers with
        names, and for models of built-in data.
    """
    names = list(description["targets"]["names"])
    if "dataset" not in description:
        return {}
    task, targets = description["task"], description["targets"]
    threshold = {"threshold": targets["threshold"]} if "threshold" in targets else {}
    if task in _OF_CLASSES:
        return {"kind": task, "classes": names, **threshold}
    if task == "multilabel":
        return {"kind": task, "labels": names, **threshold}
    if task == "regression":
        columns = _numbers(description["prediction"]["kind"], names, num_outputs)
        return {"kind": "numbers", "columns": columns}
    return {}


def _numbers(kind: str, names: list[str], num_outputs: int) -> list[str]:
    """Name the numbers of a regression: of one target `prediction`, of several each by its own."""
    targets = [PREDICTION] if len(names) == 1 else [f"{PREDICTION}_{name}" for name in names]
    if kind == "mean_and_sd":
        return [name for target in targets for name in (target, f"{target}_sd")]
    if kind == "mean_and_variances":
        beside = ("", "_aleatoric_variance", "_epistemic_variance")
        return [f"{target}{what}" for target in targets for what in beside]
    each = num_outputs // len(targets)
    if each == 1:
        return targets
    return [f"{target}_{index}" for target in targets for index in range(each)]
