"""What the numbers that a model gives are called."""

from collections.abc import Mapping, Sequence
from typing import Any

_OF_CLASSES = ("binary", "multiclass", "ordinal")
_PREDICTION = "prediction"


def has_names(task: str) -> bool:
    """Return whether the outputs of a task have names of their own: classes, labels, numbers."""
    return task in (*_OF_CLASSES, "multilabel", "regression")


def output_names(
    description: Mapping[str, Any], num_outputs: int, *, threshold: float | None = None
) -> dict[str, Any]:
    """Say how the numbers of a row are to be read; see `talweg_outputs.named`.

    Args:
        description: What `model.json` holds.
        num_outputs: The numbers of a row that the model gives; 0 where an output is no such row.
        threshold: Of the task, where the description has none.

    Returns:
        JSON values: `kind`, and the names that go with it.
    """
    task, targets = str(description["task"]), description["targets"]
    names = [str(name) for name in targets["names"]]
    if task in (*_OF_CLASSES, "multilabel"):
        count = 2 if task == "binary" else num_outputs
        # Names of numbers are none of classes.
        classes = names if len(names) == count else [str(index) for index in range(count)]
        known = targets.get("threshold", threshold)
        return {
            "kind": task,
            "labels" if task == "multilabel" else "classes": classes,
            **({} if known is None else {"threshold": known}),
        }
    if task == "regression" and num_outputs:
        columns = _numbers(str(description["prediction"]["kind"]), names, num_outputs)
        return {"kind": "numbers", "columns": columns}
    return {"kind": "numbers", "columns": _numbered(num_outputs)}


def _numbers(kind: str, targets: Sequence[str], num_outputs: int) -> list[str]:
    """Name the numbers of a regression: of one target `prediction`, of several each by its own."""
    named = [f"{_PREDICTION}_{name}" for name in targets] if len(targets) > 1 else [_PREDICTION]
    parts = {
        "mean_and_sd": ("", "_sd"),
        "mean_and_variances": ("", "_aleatoric_variance", "_epistemic_variance"),
    }.get(kind)
    if parts is None:
        count = num_outputs // len(named)
        parts = ("",) if count == 1 else tuple(f"_{index}" for index in range(count))
    if len(named) * len(parts) != num_outputs:
        return _numbered(num_outputs)
    return [f"{name}{part}" for name in named for part in parts]


def _numbered(num_outputs: int) -> list[str]:
    return [f"output_{index}" for index in range(num_outputs)]
