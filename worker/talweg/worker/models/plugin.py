"""Models that are installed beside the worker, each under an entry point."""

import math

import torch
from torch import Tensor, nn

from talweg.plugins import ModelContext
from talweg.v1.models_pb2 import ModelPlugin
from talweg.worker.errors import UserSpecError
from talweg.worker.plugins import InstalledPlugin, find

# As many samples as tell a batch from one sample.
_NUM_TRIED = 2
_OF_PIXELS = ("segmentation", "image_translation")


class PluginModel(nn.Module):
    """A plug-in's module, which is held to the shape that the job needs.

    Takes (N, *input_shape) and returns (N, *output_shape). Whatever goes wrong within it is the
    plug-in's fault.
    """

    def __init__(self, plugin: InstalledPlugin, inner: nn.Module, context: ModelContext) -> None:
        """Wrap a module.

        Args:
            plugin: Made it.
            inner: The module.
            context: What the job needs.
        """
        super().__init__()
        self.inner = inner
        self._plugin = plugin
        self._output_shape = context.output_shape

    def forward(self, x: Tensor) -> Tensor:
        """Run the plug-in's module.

        Raises:
            UserSpecError: It has failed, or its outputs are not those that the job needs.
        """
        if torch.compiler.is_compiling():
            # An exported program is of operators alone, which no check belongs to.
            outputs: Tensor = self.inner(x)
            return outputs
        with self._plugin.blamed(f"over inputs of shape {tuple(x.shape)}"):
            outputs = self.inner(x)
        self._check(outputs, x)
        return outputs

    def _check(self, outputs: object, x: Tensor) -> None:
        wanted = (len(x), *self._output_shape)
        if not isinstance(outputs, Tensor):
            actual = type(outputs).__name__
        elif not outputs.is_floating_point():
            actual = str(outputs.dtype)
        elif outputs.shape != wanted:
            actual = f"one of shape {tuple(outputs.shape)}"
        else:
            return
        raise UserSpecError(
            f"plug-in '{self._plugin.name}' must return a floating-point tensor of shape {wanted} "
            f"for inputs of shape {tuple(x.shape)}, but returned {actual}"
        )


def plugin_model(
    message: ModelPlugin,
    input_shape: tuple[int, ...],
    num_outputs: int,
    *,
    task: str,
    package: str = "",
) -> PluginModel:
    """Build a plug-in's model, and run it once, so that layers of unknown size know theirs.

    Args:
        message: The spec's.
        input_shape: The shape of one sample.
        num_outputs: Outputs per sample, or per pixel.
        task: The job's task.
        package: The package that it came with, where that is known.

    Raises:
        UserSpecError: It is not installed, or does not make such a model.
    """
    sides = input_shape[1:] if task in _OF_PIXELS else ()
    context = ModelContext(task, input_shape, num_outputs, (num_outputs, *sides))
    plugin = find(message, package=package)
    inner = plugin.make(message.parameters or "{}", context)
    if not isinstance(inner, nn.Module):
        raise UserSpecError(
            f"plug-in '{plugin.name}' must return a torch.nn.Module, but returned "
            f"{type(inner).__name__}"
        )
    model = PluginModel(plugin, inner, context)
    _try(model, input_shape)
    return model


def _try(model: PluginModel, input_shape: tuple[int, ...]) -> None:
    """Run a model in evaluation mode, in which running statistics stay as they are."""
    modes = {module: module.training for module in model.modules()}
    size = _NUM_TRIED * math.prod(input_shape)
    samples = torch.linspace(-1, 1, size).reshape(_NUM_TRIED, *input_shape)
    model.eval()
    try:
        with torch.no_grad():
            model(samples)
    finally:
        for module, mode in modes.items():
            module.training = mode
