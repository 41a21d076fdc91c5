"""Losses that are installed beside the worker, each under an entry point."""

import json
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, NoReturn

import torch
from torch import Tensor

from talweg.v1 import losses_pb2 as pb
from talweg.worker.errors import UserSpecError
from talweg.worker.losses import checks
from talweg.worker.losses.base import reduction_of
from talweg.worker.losses.composed.user_defined import OwnLoss

GROUP = "talweg.losses"
"""The entry points' group. Each names a callable that takes the parameters, a dict, and gives the
loss: a callable that takes the inputs, a dict of tensors by name, and gives a value for each
sample, or one value. A loss that takes other inputs than pred and target names them, in a tuple
`input_names`."""

_SMALL = (torch.float16, torch.bfloat16)


class Plugin(OwnLoss):
    """Loss that is installed beside the worker, as a plug-in.

    L = plugin(inputs)

    float16 and bfloat16 reach it as float32.

    Args:
        name: The entry point's name. Workers know which are installed, and say so where it is
            another.
        parameters: What the plug-in takes.
        reduction: mean (default), sum or none.

    Inputs: those that the plug-in names, as a rule pred (N, …); target (N, …).
    Returns: A value a sample (N,), or the reduced scalar; one value stays as it is.
    Reference: docs/losses.md
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
        self.inner = self._made(_find(spec.name), json.loads(spec.parameters))
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
        try:
            values: object = self.inner(dict(zip(self.input_names, tensors, strict=True)))
        except Exception as exc:
            self._blame(exc, "over its inputs")
        if not isinstance(values, Tensor):
            raise UserSpecError(
                f"plug-in '{self.name}' must return a tensor, but returned {type(values).__name__}"
            )
        self._require_shape(values, first)
        return values

    def _made(self, entry: EntryPoint, parameters: dict[str, Any]) -> Callable[..., Any]:
        try:
            loss = entry.load()(parameters)
        except Exception as exc:
            self._blame(exc, f"with parameters {json.dumps(parameters)[:200]}")
        if not callable(loss):
            raise UserSpecError(
                f"plug-in '{self.name}' must return a callable, but returned {type(loss).__name__}"
            )
        made: Callable[..., Any] = loss
        return made

    def _blame(self, exc: Exception, where: str) -> NoReturn:
        memory = isinstance(exc, (MemoryError, torch.OutOfMemoryError))
        if memory or "DefaultCPUAllocator" in str(exc):
            raise exc
        raise UserSpecError(
            f"plug-in '{self.name}' failed {where}: {type(exc).__name__}: {exc}"
        ) from exc


def _find(name: str) -> EntryPoint:
    entries = {entry.value: entry for entry in entry_points(group=GROUP, name=name)}
    if len(entries) == 1:
        (entry,) = entries.values()
        return entry
    if entries:
        raise UserSpecError(
            f"plugin.name: '{name}' is installed more than once, as {', '.join(sorted(entries))}"
        )
    known = sorted({entry.name for entry in entry_points(group=GROUP)})
    raise UserSpecError(
        "plugin.name must be a loss that is installed on the worker, "
        f"{', '.join(known) or 'none'}, but got '{name}'"
    )
