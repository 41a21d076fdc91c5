"""Losses that are installed beside the worker, each under an entry point."""

from collections.abc import Mapping

import torch
from torch import Tensor

from talweg.v1 import losses_pb2 as pb
from talweg.worker.errors import UserSpecError
from talweg.worker.losses import checks
from talweg.worker.losses.base import reduction_of
from talweg.worker.losses.composed.user_defined import OwnLoss
from talweg.worker.plugins import find

_SMALL = (torch.float16, torch.bfloat16)


class Plugin(OwnLoss):
    """Loss that is installed beside the worker, as a plug-in.

    L = plugin(inputs)

    The entry point, of the group `talweg.losses`, names a callable that takes the parameters, a
    dict, and returns the loss: a callable that takes the inputs, a dict of tensors by name. A loss
    that takes other inputs than pred and target names them, in a tuple `input_names`.

    float16 and bfloat16 reach it as float32.

    Args:
        name: The entry point's name. Workers know which are installed, and say so where it is
            another.
        parameters: What the plug-in takes.
        reduction: mean (default), sum or none.

    Inputs: those that the plug-in names, as a rule pred (N, …); target (N, …).
    Returns: A value a sample (N,), or the reduced scalar; one value stays as it is.
    Reference: docs/plugins.md
    """

    field = "plugin"

    def __init__(self, spec: pb.Plugin) -> None:
        """Make the loss of a filled message, within its bounds.

        Raises:
            UserSpecError: No such plug-in is installed, or it does not take the parameters.
        """
        super().__init__(reduction_of(spec))
        self.name = spec.name
        # A module becomes a part of this one, and moves to the outputs' device with it.
        self._plugin = find(spec)
        self.inner = self._plugin.make(spec.parameters)
        if not callable(self.inner):
            raise UserSpecError(
                f"plug-in '{self.name}' must return a callable, but returned "
                f"{type(self.inner).__name__}"
            )
        self.input_names = tuple(getattr(self.inner, "input_names", ("pred", "target")))

    def _take(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        checks.require_names(inputs, self.input_names)
        tensors = (inputs[name] for name in self.input_names)
        return tuple(tensor.float() if tensor.dtype in _SMALL else tensor for tensor in tensors)

    def _values(self, *tensors: Tensor) -> Tensor:
        first = tensors[0]
        if first.is_floating_point() and not first.numel():
            # What a plug-in makes of nothing is often NaN.
            return first.sum()
        with self._plugin.blamed("over its inputs"):
            values: object = self.inner(dict(zip(self.input_names, tensors, strict=True)))
        if not isinstance(values, Tensor):
            raise UserSpecError(
                f"plug-in '{self.name}' must return a tensor, but returned {type(values).__name__}"
            )
        self._require_shape(values, first)
        return values
