"""What each layer of a network shows in one step: its outputs, its gradients, its update."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor, nn

from talweg.v1.replay_pb2 import ReplayLayer
from talweg.worker.training.monitors.layers import Layers, layer_norms


@dataclass
class _Outputs:
    """The outputs of one layer, over all of its calls."""

    count: int = 0
    good: int = 0
    zeros: int = 0
    total: float = 0.0
    squares: float = 0.0
    largest: float = 0.0

    def add(self, output: Tensor) -> None:
        self.count += output.numel()
        finite = output.detach()[output.isfinite()].double()
        self.good += finite.numel()
        if not finite.numel():
            return
        self.zeros += int((finite == 0).sum())
        self.total += float(finite.sum())
        self.squares += float(finite.square().sum())
        self.largest = max(self.largest, float(finite.abs().max()))

    def tell(self, layer: ReplayLayer) -> None:
        if not self.count:
            return
        layer.output_bad = self.count - self.good
        if not self.good:
            return
        mean = self.total / self.good
        layer.output_mean = mean
        layer.output_sd = math.sqrt(max(0.0, self.squares / self.good - mean * mean))
        layer.output_max = self.largest
        layer.output_zeros = self.zeros / self.good


class LayerProbe:
    """Measures the layers of a model in one step.

    `watching` the forward and backward pass, then `gradients`; around the update `weights` and
    `updated`.
    """

    def __init__(self, model: nn.Module) -> None:
        """Take a model as `Layers` does."""
        self._model = model
        self._layers = Layers(model)
        self._outputs = {name: _Outputs() for name in self._layers.parameters}
        self._gradients: Mapping[str, float] = {}
        self._weights: Mapping[str, float] = {}
        self._updates: Mapping[str, float] = {}
        self._before: dict[str, list[Tensor]] = {}

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Take the outputs of the forward passes that are made meanwhile."""

        def follow(outputs: _Outputs) -> Callable[[nn.Module, object, object], None]:
            def hook(_: nn.Module, __: object, output: object) -> None:
                for tensor in _tensors(output):
                    outputs.add(tensor)

            return hook

        handles = [
            self._model.get_submodule(name).register_forward_hook(follow(outputs))
            for name, outputs in self._outputs.items()
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def gradients(self, scale: float) -> None:
        """Take the gradients as they are, divided by their scale."""
        norms = self._layers.gradients().norms
        self._gradients = {name: norm / scale for name, norm in norms.items()}

    def weights(self) -> None:
        """Take the weights before the update."""
        self._before = {
            name: [parameter.detach().clone() for parameter in parameters]
            for name, parameters in self._layers.parameters.items()
        }
        self._weights = layer_norms(self._before)

    def updated(self) -> None:
        """Take the weights after the update."""
        moved = {
            name: [
                parameter.detach() - was
                for was, parameter in zip(before, self._layers.parameters[name], strict=True)
            ]
            for name, before in self._before.items()
        }
        self._updates = layer_norms(moved)
        self._before = {}

    def report(self, most: int) -> list[ReplayLayer]:
        """Return what was measured, of so many layers at the most, in the model's order."""
        layers = []
        for name in list(self._outputs)[:most]:
            layer = ReplayLayer(
                name=name,
                gradient_norm=self._gradients.get(name, 0.0),
                weight_norm=self._weights.get(name, 0.0),
                update_norm=self._updates.get(name, 0.0),
            )
            self._outputs[name].tell(layer)
            layers.append(layer)
        return layers


def _tensors(output: object) -> Iterator[Tensor]:
    """Return the numbers in what a module gave."""
    if isinstance(output, Tensor):
        if output.is_floating_point():
            yield output
    elif isinstance(output, Mapping):
        for each in output.values():
            yield from _tensors(each)
    elif isinstance(output, Sequence) and not isinstance(output, str):
        for each in output:
            yield from _tensors(each)
