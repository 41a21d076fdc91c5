"""A network's layers: the modules that hold weights of their own, and how large these are."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain

import torch
from torch import Tensor, nn

from talweg.worker.training.guard.guard import read
from talweg.worker.training.optim import foreach


@dataclass(frozen=True)
class Gradients:
    """How large the gradients of one step are, by layer."""

    norms: Mapping[str, float]
    """Euclidean norm."""
    zero: frozenset[str]
    """The layers whose gradients are 0 in every element: a norm of 0 may be underflow."""


class Layers:
    """The layers of a model whose weights are trainable.

    Those of a loss with weights of its own are none of them: their gradients are of another scale.
    """

    def __init__(self, model: nn.Module) -> None:
        """Take a model whose loss, where it is trained too, stands in it as ``loss``."""
        self.parameters: dict[str, list[nn.Parameter]] = defaultdict(list)
        """By layer, in the order in which the model names them."""
        for name, parameter in model.named_parameters():
            layer = name.rpartition(".")[0]
            if parameter.requires_grad and layer.partition(".")[0] != "loss":
                self.parameters[layer].append(parameter)

    def gradients(self) -> Gradients:
        """Read the gradients, the device once."""
        gradients = {
            name: [p.grad for p in parameters if p.grad is not None]
            for name, parameters in self.parameters.items()
        }
        norms = layer_norms(gradients)
        zero = frozenset(
            name
            for name, norm in norms.items()
            if norm == 0 and not any(int(torch.count_nonzero(g)) for g in gradients[name])
        )
        return Gradients(norms, zero)


def layer_norms(tensors: Mapping[str, Sequence[Tensor]]) -> dict[str, float]:
    """Return the norm of each layer's tensors together, in one read of the device.

    Args:
        tensors: By layer; 0 where a layer has none.
    """
    flat = list(chain.from_iterable(tensors.values()))
    sizes = iter(read(foreach.norms(flat)) if flat else ())
    return {
        name: math.hypot(*(next(sizes) for _ in of_layer)) for name, of_layer in tensors.items()
    }


@dataclass
class ForwardOrder:
    """In what order a model's modules begin their work."""

    _called: dict[str, int] = field(default_factory=dict)

    @classmethod
    @contextmanager
    def of(cls, model: nn.Module) -> "Iterator[ForwardOrder]":
        """Follow a forward pass that is made meanwhile."""
        order = cls()

        def follow(name: str) -> Callable[[nn.Module, object], None]:
            def hook(*_: object) -> None:
                order._called.setdefault(name, len(order._called))

            return hook

        handles = [
            module.register_forward_pre_hook(follow(name))
            for name, module in model.named_modules()
        ]
        try:
            yield order
        finally:
            for handle in handles:
                handle.remove()

    def of_layers(self, names: Sequence[str]) -> list[str]:
        """Sort layers by it.

        What is never called, since another module uses its weights directly, stands behind the
        module around it; and where none is, beside what the model names before it.
        """
        positions: dict[str, tuple[int, int]] = {}
        last = -1
        for number, name in enumerate(names):
            around = name
            while around and around not in self._called:
                around = around.rpartition(".")[0]
            last = self._called.get(around, last)
            positions[name] = (last, number)
        return sorted(names, key=positions.__getitem__)
