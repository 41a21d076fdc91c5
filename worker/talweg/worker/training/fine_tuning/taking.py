"""From a file of weights into a model: by name and shape, layer by layer."""

import math
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from talweg.spec.spelling import near
from talweg.v1.weights_pb2 import TakenWeights
from talweg.worker.errors import UserSpecError
from talweg.worker.training.fine_tuning.freezing import OF_LOSS
from talweg.worker.training.fine_tuning.patterns import some
from talweg.worker.training.fine_tuning.source import WeightsFile
from talweg.worker.training.guard.overflow import LARGEST_WEIGHT

Entry = TakenWeights.Entry
Shapes = Mapping[str, tuple[int, ...]]

_MOST_LISTED = 200
# A count beside batch normalisation's statistics, which files of other programs may lack.
_COUNT = "num_batches_tracked"


@dataclass(frozen=True)
class Taken:
    """What was taken of a file."""

    record: TakenWeights
    """For the job's record."""
    new: Mapping[str, "Entry.Use.ValueType"]
    """Why each tensor of the model was not taken that was not; by its name."""
    unusual: list[str]
    """Those of them that belong neither to the last layer nor to the loss."""


def take(
    model: nn.Module, file: WeightsFile, *, sha256: str, head: Collection[str], new_head: bool
) -> Taken:
    """Copy what fits from a file into a model.

    A layer, all tensors of one module, is taken whole or not at all: half a layer is none.

    Args:
        model: The network, beside its loss where that is trained too.
        file: The weights.
        sha256: The file's.
        head: Modules of the last layer, by their names.
        new_head: Leave the last layer, and the loss, as they are.

    Raises:
        UserSpecError: Nothing fits, or what does is not finite.
    """
    of_model = _state(model)
    shapes, wanted = file.shapes(), {name: tuple(t.shape) for name, t in of_model.items()}
    uses = _uses(wanted, shapes)
    if new_head:
        for name, use in uses.items():
            if use == Entry.TAKEN and _is_of_head(name, head):
                uses[name] = Entry.NEW_HEAD
    taken = [name for name, use in uses.items() if use == Entry.TAKEN]
    if not taken:
        raise UserSpecError(_nothing(file.label, wanted, shapes))
    with torch.no_grad():
        for name, tensor in file.tensors(taken):
            _check(name, tensor, file.label)
            of_model[name].copy_(tensor)
    new = {
        name: use
        for name, use in uses.items()
        if use not in (Entry.TAKEN, Entry.NOT_IN_MODEL) and not _is_count(name)
    }
    unusual = [name for name in new if not _is_of_head(name, head)]
    return Taken(_record(file.label, sha256, uses, wanted, shapes), new, unusual)


def _state(model: nn.Module) -> dict[str, Tensor]:
    """Return parameters and statistics; of a loss its parameters alone, as others are counted."""
    parameters = dict(model.named_parameters())
    return {
        name: tensor
        for name, tensor in model.state_dict(keep_vars=True).items()
        if name in parameters or not name.startswith(OF_LOSS)
    }


def _uses(wanted: Shapes, shapes: Shapes) -> dict[str, "Entry.Use.ValueType"]:
    """Say what becomes of each tensor: those of the model first."""
    layers: dict[str, list[str]] = defaultdict(list)
    for name in wanted:
        layers[name.rpartition(".")[0]].append(name)
    uses: dict[str, Entry.Use.ValueType] = {}
    for names in layers.values():
        own = {name: _use(name, wanted, shapes) for name in names}
        is_whole = all(use == Entry.TAKEN for name, use in own.items() if not _is_count(name))
        for name, use in own.items():
            uses[name] = Entry.WITH_ITS_LAYER if use == Entry.TAKEN and not is_whole else use
    # In the model's own order.
    uses = {name: uses[name] for name in wanted}
    return uses | {name: Entry.NOT_IN_MODEL for name in shapes if name not in wanted}


def _use(name: str, wanted: Shapes, shapes: Shapes) -> "Entry.Use.ValueType":
    if name not in shapes:
        return Entry.NOT_IN_FILE
    return Entry.TAKEN if shapes[name] == wanted[name] else Entry.OTHER_SHAPE


def _is_count(name: str) -> bool:
    return name.endswith(_COUNT)


def _is_of_head(name: str, head: Collection[str]) -> bool:
    if name.startswith(OF_LOSS):
        return True
    return any(name.startswith(f"{module}.") for module in head)


def _check(name: str, tensor: Tensor, label: str) -> None:
    """Refuse what the guard would let into no weights."""
    if not tensor.is_floating_point() or not tensor.numel():
        return
    largest = float(torch.linalg.vector_norm(tensor, math.inf))
    if not largest <= LARGEST_WEIGHT:
        raise UserSpecError(
            f"weights: {name} of {label} must hold numbers up to {LARGEST_WEIGHT:.0e}, but its "
            f"largest is {largest:.3g}"
        )


def _nothing(label: str, wanted: Shapes, shapes: Shapes) -> str:
    pairs = [
        f"{name} {wanted[name]} in the model, {shapes[name]} in the file"
        for name in wanted
        if name in shapes
    ]
    if pairs:
        return (
            f"weights: no layer of {label} has the shape that the model needs: {some(pairs)}. Use "
            "a model of the same sizes"
        )
    likely = [close for name in list(shapes)[:1] for close in near(name, wanted)]
    hint = f" Is {next(iter(shapes))} the model's {likely[0]}?" if likely else ""
    return (
        f"weights: no tensor of {label} has the name of one in the model. The file has "
        f"{some(shapes)}; the model has {some(wanted)}. Use the same kind of model, or rename the "
        f"tensors in the file.{hint}"
    )


def _record(
    label: str,
    sha256: str,
    uses: Mapping[str, "Entry.Use.ValueType"],
    wanted: Shapes,
    shapes: Shapes,
) -> TakenWeights:
    counts = list(uses.values())
    num_taken, num_unused = counts.count(Entry.TAKEN), counts.count(Entry.NOT_IN_MODEL)
    record = TakenWeights(
        source=label,
        sha256=sha256,
        num_taken=num_taken,
        num_new=len(uses) - num_taken - num_unused,
        num_unused=num_unused,
    )
    for name, use in sorted(uses.items(), key=lambda each: each[1] == Entry.TAKEN)[:_MOST_LISTED]:
        record.tensors.add(
            name=name, use=use, file_shape=shapes.get(name, ()), model_shape=wanted.get(name, ())
        )
    return record
