"""What a spec asks for before the first step: starting weights, frozen parameters, rates."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import nn

from talweg.spec import taken_names, weights_lines
from talweg.spec.semantics.pretrained import pretrained_in
from talweg.v1.jobs_pb2 import LogLine, Warning
from talweg.v1.models_pb2 import Model
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker import models
from talweg.worker.data import DataBundle
from talweg.worker.errors import UserSpecError
from talweg.worker.models import HeadShape
from talweg.worker.models.architectures.pretrained import published_names
from talweg.worker.models.registry import plugin_of
from talweg.worker.tasks import TaskRunner
from talweg.worker.training.fine_tuning.freezing import freeze
from talweg.worker.training.fine_tuning.patterns import some
from talweg.worker.training.fine_tuning.rates import factors_of
from talweg.worker.training.fine_tuning.source import opened
from talweg.worker.training.fine_tuning.taking import Taken, take
from talweg.worker.training.interface import Reporter


def start(
    spec: JobSpec, bundle: DataBundle, task: TaskRunner, model: nn.Module, report: Reporter
) -> Mapping[str, float]:
    """Bring a model to where its training begins.

    Args:
        spec: Filled and checked.
        bundle: The data.
        task: The model's.
        model: The network, beside its loss where that is trained too; on its device.
        report: Takes what was taken and frozen.

    Returns:
        The factors of the learning rate by parameter, where they are not 1.

    Raises:
        UserSpecError: The weights do not fit the model, or a pattern does not.
        StoreAwayError: The blob store cannot be reached now.
    """
    taken = None
    if spec.HasField("weights"):
        taken = _take(spec, bundle, task, model)
        _tell(taken, report)
    frozen = freeze(model, spec.freeze)
    if frozen:
        _check_frozen(frozen, taken)
        task.frozen(model)
        total = sum(1 for _ in model.parameters())
        report.log(LogLine.INFO, f"Frozen: {len(frozen)} of {total} parameters: {some(frozen)}.")
    return factors_of(model, spec.learning_rates)


def _take(spec: JobSpec, bundle: DataBundle, task: TaskRunner, model: nn.Module) -> Taken:
    weights = spec.weights
    # A plug-in's network is built by code that need not know another number of outputs.
    head: set[str] = set()
    if plugin_of(spec.model) is None:
        blocks = [models.CategoryBlock(*block) for block in bundle.inputs.categories]
        shape = bundle.inputs.shape
        head = last_layers(spec.model, shape, task.num_outputs, task.heads, blocks)
    elif weights.new_head:
        raise UserSpecError(
            "weights.new_head: found true under a model of a plug-in, whose last layer is not "
            "known; allowed false: layers whose shape differs from the weights are new anyway"
        )
    with opened(weights) as file:
        for _, pretrained in pretrained_in(spec.model):
            file = file.renamed(published_names(pretrained), set(model.state_dict()))
        return take(model, file, sha256=weights.sha256, head=head, new_head=weights.new_head)


def last_layers(
    model: Model,
    input_shape: tuple[int, ...],
    num_outputs: int,
    heads: Sequence[HeadShape],
    categories: Sequence[models.CategoryBlock] = (),
) -> set[str]:
    """Return the modules whose shapes follow from the number of outputs, by their names."""

    def shapes(more: int) -> dict[str, torch.Size]:
        wider = [replace(head, num_outputs=head.num_outputs + more) for head in heads]
        # No memory is taken, and no number drawn.
        with torch.device("meta"):
            network = models.build(
                model, input_shape, num_outputs + more, seed=0, heads=wider, categories=categories
            )
        return {name: tensor.shape for name, tensor in network.state_dict().items()}

    here, wider = shapes(0), shapes(1)
    return {name.rpartition(".")[0] for name in here if here[name] != wider.get(name)}


def _tell(taken: Taken, report: Reporter) -> None:
    report.weights(taken.record)
    for line in weights_lines(taken.record):
        report.log(LogLine.INFO, line)
    report.log(LogLine.INFO, f"Taken: {', '.join(taken_names(taken.record))}.")
    if taken.unusual:
        report.warning(
            Warning(
                kind=Warning.WEIGHTS_NOT_TAKEN,
                field="weights",
                message=f"{len(taken.unusual)} tensors besides the last layer start at random, "
                f"since the file does not have them in the model's shape: {some(taken.unusual)}. "
                "Use the sizes and the input of the model that the weights are of",
                layers=dict.fromkeys(name.rpartition(".")[0] for name in taken.unusual),
            )
        )


def _check_frozen(frozen: Sequence[str], taken: Taken | None) -> None:
    """Refuse to freeze what starts at random though there are weights to start from."""
    if taken is None:
        return
    random = [name for name in frozen if name in taken.new]
    if random:
        raise UserSpecError(
            f"freeze: found {some(random)}, which start at random, since the weights do not have "
            "them in the model's shape; allowed patterns of what was taken"
        )
