"""Rows of the tables for losses whose inputs are more than pred and target.

A row holds the inputs by name and a formula of all of them together, in fifty digits and plain
Python, as `formulas` has them. The rows themselves stand in a module a family.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from tests.worker.losses.formulas import Number, mp
from torch import Tensor

from talweg.v1.losses_pb2 import Loss

Arrays = Mapping[str, Any]
"""Inputs by name: numpy arrays, of mpmath's numbers where they are no integers."""
Formula = Callable[..., tuple[list[Number], Number]]
"""Inputs and parameters to the unreduced values and what their mean divides by."""

# Of a derivative: in fifty digits it errs by 1e-20 and less, and takes one value an input.
_STEP = mp.mpf(10) ** -20


@dataclass(frozen=True)
class Named:
    """One loss with parameters and inputs away from its kinks."""

    loss: str
    """The member of `Loss`."""
    given: Mapping[str, Any]
    """The inputs by name, as nested lists."""
    formula: Formula
    """What is held against it."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """The parameters, in JSON form."""
    learned: tuple[str, ...] = ("pred",)
    """The inputs by which gradients are taken."""
    detached: bool = False
    """Whether the loss holds a part of itself constant. The formula then takes the inputs a second
    time, which stay as they are while the first are moved."""
    kinked: bool = False
    """Whether inputs stand at kinks, where the gradient is the mean of both sides' slopes."""

    def __str__(self) -> str:
        """Return the test's name."""
        return " ".join([self.loss, *(f"{k}={v}" for k, v in self.params.items())])

    @property
    def reductions(self) -> list[str]:
        """The names that the loss's reduction may have."""
        message = Loss.DESCRIPTOR.fields_by_name[self.loss].message_type
        assert message is not None
        enum = message.fields_by_name["reduction"].enum_type
        assert enum is not None
        return [value.name for value in enum.values]

    def spec(self, reduction: str | None = None) -> dict[str, Any]:
        """Return the loss's JSON form; with its default reduction where none is said."""
        chosen = {} if reduction is None else {"reduction": reduction}
        return {self.loss: {**self.params, **chosen}}

    def inputs(self, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
        """Return the inputs, of which the learned want gradients."""
        tensors = {}
        for name, value in self.given.items():
            tensor = torch.tensor(value)
            if tensor.is_floating_point():
                tensor = torch.tensor(value, dtype=dtype, requires_grad=name in self.learned)
            tensors[name] = tensor
        return tensors

    def values(self) -> list[Number]:
        """Return the unreduced loss by its formula, in the order of memory."""
        return self._apply(self._arrays())[0]

    def mean(self) -> Number:
        """Return the reduced loss by its formula."""
        return self._mean(self._arrays())

    def gradient(self, name: str) -> Tensor:
        """Return the mean's gradient by one input, differentiated numerically in fifty digits."""
        arrays = self._arrays()
        at = arrays[name]

        unmoved = self._mean(arrays)

        def slope(index: tuple[int, ...], step: Number) -> Number:
            moved = at.copy()
            moved[index] += step
            return (self._mean({**arrays, name: moved}) - unmoved) / step

        steps = (_STEP, -_STEP) if self.kinked else (_STEP,)

        slopes = [
            float(sum(slope(index, step) for step in steps) / len(steps))
            for index in np.ndindex(*at.shape)
        ]
        return torch.tensor(slopes, dtype=torch.float64).reshape(at.shape)

    def _mean(self, arrays: Arrays) -> Number:
        values, divisor = self._apply(arrays)
        return sum(values) / divisor

    def _apply(self, arrays: Arrays) -> tuple[list[Number], Number]:
        held = (self._arrays(),) if self.detached else ()
        return self.formula(arrays, *held, **self.params)

    def _arrays(self) -> dict[str, Any]:
        return {name: _exact(np.array(value)) for name, value in self.given.items()}


def _exact(array: Any) -> Any:
    if np.issubdtype(array.dtype, np.integer):
        return array
    exact = [mp.mpf(float(x)) for x in array.flatten()]
    return np.array([*exact, None], dtype=object)[:-1].reshape(array.shape)
