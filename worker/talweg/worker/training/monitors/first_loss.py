"""Is the first loss what that of an untrained model should be?

Before the first step a model's outputs are small: its logits are near 0, and it knows nothing. The
loss is then near its value for outputs of exactly 0, which is known: ln C of cross-entropy over C
classes, ln 2 of two. A first loss far above it shows outputs that are large already, mostly from
inputs that were never standardised, and training would spend its first steps in unlearning them.
"""

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from talweg.v1.jobs_pb2 import Warning
from talweg.v1.options_pb2 import BINARY, MULTICLASS, MULTILABEL, REGRESSION, TaskKind
from talweg.worker.losses import LossModule

FAR = {BINARY: 3.0, MULTICLASS: 3.0, MULTILABEL: 3.0, REGRESSION: 10.0}
"""How many times the untrained value the first loss may be, by task; other tasks have none."""
_INPUTS = {"pred", "target"}
_LEAST = 1e-6


def untrained_loss(
    criterion: LossModule, inputs: Mapping[str, Tensor], *, ends_in: str
) -> float | None:
    """Return a loss for outputs that know nothing; None where that says nothing about it.

    Args:
        criterion: The loss.
        inputs: What it takes of some samples.
        ends_in: What the model's last layer applies: "none", "sigmoid" or "softmax".
    """
    if not inputs.keys() == _INPUTS or next(criterion.parameters(), None) is not None:
        return None
    pred = inputs["pred"]
    values = {"none": 0.0, "sigmoid": 0.5, "softmax": 1 / max(pred.shape[-1], 1)}
    try:
        known = float(criterion({**inputs, "pred": torch.full_like(pred, values[ends_in])}))
    except ValueError:
        # A formula of one's own that does not take it.
        return None
    return known if math.isfinite(known) and known > _LEAST else None


def first_loss_warnings(
    criterion: LossModule,
    inputs: Mapping[str, Tensor],
    *,
    path: str,
    task: TaskKind.ValueType,
    ends_in: str,
) -> Iterator[Warning]:
    """Warn of a first loss far above that of an untrained model.

    Args:
        criterion: The loss.
        inputs: What it takes of the first samples.
        path: Where it stands in the spec.
        task: The task.
        ends_in: What the model's last layer applies.
    """
    if task not in FAR:
        return
    known = untrained_loss(criterion, inputs, ends_in=ends_in)
    if known is None:
        return
    first = float(criterion(inputs))
    # What is not finite is the guard's to refuse.
    if not math.isfinite(first) or first <= FAR[task] * known:
        return
    largest = float(inputs["pred"].abs().max())
    yield Warning(
        kind=Warning.FIRST_LOSS_FAR,
        field=path,
        message=(
            f"The first loss is {first:.4g}, while that of an uninformed model is "
            f"{known:.4g}{_in_words(known, inputs['pred'])}: its outputs reach {largest:.3g} "
            "before the first step. Standardise the inputs, and a regression's targets."
        ),
    )


def _in_words(known: float, pred: Tensor) -> str:
    for count in {2, pred.shape[-1]}:
        if count > 1 and math.isclose(known, math.log(count), rel_tol=1e-4):
            return f" (ln {count})"
    return ""
