"""What a training trains: a network, beside a loss that has weights of its own."""

import torch
from torch import Tensor, nn

from talweg.spec import kind
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker import models
from talweg.worker.data import DataBundle
from talweg.worker.errors import UserSpecError
from talweg.worker.tasks import TaskRunner
from talweg.worker.training import memory


class WithLoss(nn.Module):
    """All that is trained: the network's modules under their own names, and ``loss``.

    Run, it is the network alone.
    """

    def __init__(self, network: nn.Sequential, loss: nn.Module) -> None:
        """Put a loss beside a network."""
        super().__init__()
        self._layers = tuple(network.children())
        for name, layer in network.named_children():
            self.add_module(name, layer)
        self.loss = loss

    def forward(self, x: Tensor) -> Tensor:
        """Run the network."""
        for layer in self._layers:
            x = layer(x)
        return x


def trainable(network: nn.Sequential, loss: nn.Module) -> nn.Module:
    """Return the network, beside the loss where that has weights of its own."""
    if next(loss.parameters(), None) is None:
        return network
    return WithLoss(network, loss)


def build(spec: JobSpec, bundle: DataBundle, task: TaskRunner, device: torch.device) -> nn.Module:
    """Build a spec's network, beside the loss where that is trained too.

    Raises:
        UserSpecError: The network has nothing that could be trained.
    """
    with memory.weights_bounded():
        network = models.build(
            spec.model,
            bundle.inputs.shape,
            task.num_outputs,
            seed=spec.training.seed,
            heads=task.heads,
            categories=[models.CategoryBlock(*block) for block in bundle.inputs.categories],
            task=kind(spec.task)[0],
        )
    if next(network.parameters(), None) is None:
        raise UserSpecError("the model has no trainable parameters: add a linear layer")
    if spec.resources.processes > 1:
        _refuse_batch_norm(network)
    task.start(network)
    task.criterion.to(device)
    model = trainable(network, task.criterion).to(device)
    if spec.training.channels_last:
        # Convolutions give images in the order in which their weights stand.
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model


def _refuse_batch_norm(network: nn.Module) -> None:
    """Refuse what the server refuses of the catalogue's models, and cannot see in a plug-in."""
    for name, module in network.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            raise UserSpecError(
                "resources.processes must be 1 for a model with batch normalisation, as each "
                "process would compute the statistics of its own part of a batch only, but the "
                f"model has {type(module).__name__} in {name}: use another normalisation"
            )
