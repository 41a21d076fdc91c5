"""What is looked at before the first step: does the spec fit its data, and is it meant so?"""

import re
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from talweg.spec import (
    has_class_weights,
    kind,
    leaves,
    output_activation,
    task_kind,
    weight_fields,
)
from talweg.v1.jobs_pb2 import Warning
from talweg.v1.options_pb2 import BINARY, MULTICLASS
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.data import DataBundle
from talweg.worker.errors import UserSpecError
from talweg.worker.losses import LossModule, OwnLoss, Sum
from talweg.worker.tasks import Batch, TaskRunner
from talweg.worker.training.monitors.first_loss import first_loss_warnings

MOST_IMBALANCE = 10.0
"""Samples of the most frequent class for one of the rarest, above which weights are missed."""
MOST_APART = 100.0
"""Ratio of a sum's weighted terms above which the smaller hardly counts."""


def dry_run(
    model: nn.Module,
    task: TaskRunner,
    batch: Batch,
    arrays: Mapping[str, Tensor],
    *,
    spec: JobSpec,
) -> list[Warning]:
    """Run one batch through network and loss, to find before the first step what cannot work.

    Args:
        model: The network, in training mode; its buffers and the random state change.
        task: Has the losses over its outputs.
        batch: Some training samples.
        arrays: All training samples.
        spec: Filled and checked.

    Returns:
        Warnings of what the first values show.

    Raises:
        UserSpecError: A loss refuses the outputs or the targets, or one of the user's own gives
            what cannot be minimised.
    """
    warnings: list[Warning] = []
    with torch.no_grad():
        try:
            for trial in task.dry_runs(model, batch, arrays):
                criterion = trial.criterion
                criterion.check_values({**trial.inputs, **trial.targets})
                criterion.check_inputs(trial.inputs)
                _try_own_losses(criterion, trial.inputs, trial.path)
                warnings += first_loss_warnings(
                    criterion,
                    trial.inputs,
                    path=trial.path,
                    task=task_kind(spec),
                    ends_in=output_activation(spec),
                )
                if isinstance(criterion, Sum):
                    terms = criterion.term_values(trial.inputs)
                    weighted = [w * t for w, t in zip(criterion.weights, terms, strict=True)]
                    warnings += sum_warnings(weighted, trial.path)
        except UserSpecError:
            raise
        except ValueError as exc:
            raise UserSpecError(f"the loss does not fit the data or the model: {exc}") from exc
    return warnings


def _try_own_losses(criterion: LossModule, inputs: Mapping[str, Tensor], path: str) -> None:
    for name, module in criterion.named_modules():
        if isinstance(module, OwnLoss):
            terms = re.findall(r"terms\.(\d+)", name)
            own = path + "".join(f".sum.terms[{index}].loss" for index in terms)
            try:
                module.dry_run(inputs)
            except ValueError as exc:
                at = f"{own}.{module.field}"
                raise UserSpecError(f"{at}: tried on the first batch, {exc}") from exc


def sum_warnings(terms: list[Tensor], path: str = "loss") -> Iterator[Warning]:
    """Warn of a sum whose weighted terms are far apart."""
    sizes = [(abs(float(term)), index) for index, term in enumerate(terms)]
    counted = [(size, index) for size, index in sizes if 0 < size < float("inf")]
    if len(counted) < 2:
        return
    (low, smallest), (high, largest) = min(counted), max(counted)
    if high > MOST_APART * low:
        yield Warning(
            kind=Warning.SUM_TERMS_APART,
            field=f"{path}.sum.terms[{smallest}].weight",
            message=(
                f"Weighted, terms[{smallest}] is {low:.3g} at the first step and "
                f"terms[{largest}] is {high:.3g}: the smaller has almost no influence. Choose "
                "weights that match the terms' scales."
            ),
        )


def imbalance_warnings(spec: JobSpec, bundle: DataBundle) -> Iterator[Warning]:
    """Warn of rare classes in the training data under a loss without weights."""
    task = task_kind(spec)
    # Labels of which a sample may carry any number are rare by nature.
    if task not in (BINARY, MULTICLASS):
        return
    if any(has_class_weights(loss) for *_, loss in leaves(spec.loss)):
        return
    if spec.training.HasField("sampling"):
        return
    counts = torch.bincount(bundle.train.y.long(), minlength=bundle.num_targets).tolist()
    rarest, commonest = min(counts), max(counts)
    if commonest <= MOST_IMBALANCE * rarest:
        return
    names = bundle.class_names
    rare, common = names[counts.index(rarest)], names[counts.index(commonest)]
    loss, message = kind(spec.loss)
    own = weight_fields(message)
    yield Warning(
        kind=Warning.IMBALANCE_WITHOUT_WEIGHTS,
        field=f"loss.{loss}.{own[0]}" if own else f"loss.{loss}",
        message=(
            f"The training data contains {commonest} samples of {common!r} and {rarest} of "
            f"{rare!r}, and the loss has no class weights: the rare class may be ignored. Use "
            "class weights, such as balanced, or training.sampling: balanced, or evaluate f1 "
            "besides accuracy."
        ),
    )
