"""From a model's outputs to predictions: once, for evaluation, plots and the saved model.

A task's module `predictions` holds its postprocessors, each of which `model.json` names by its
`kind`, and `postprocessor`, which makes the one of a job.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor

from talweg.worker.data import StandardScaler

Activation = Literal["none", "sigmoid", "softmax"]
ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "none": lambda outputs: outputs,
    "sigmoid": torch.sigmoid,
    "softmax": lambda outputs: outputs.softmax(dim=1),
}
"""What stands behind outputs that are no probabilities yet."""


@dataclass(frozen=True)
class Postprocessor(ABC):
    """Turns a model's outputs into predictions, in their precision and on their device.

    Its operations are torch's alone and can be exported; its parameters are plain JSON values.
    """

    kind: ClassVar[str]
    """Its name in `model.json`."""

    @abstractmethod
    def __call__(self, outputs: Any) -> Tensor:
        """Return the predictions (N, …) of outputs, as the model gives them."""

    def with_class_vectors(self, vectors: Tensor) -> Self:
        """Take a learned vector a class (C, D), where the loss has them and outputs need them."""
        return self

    def described(self) -> dict[str, Any]:
        """Return its kind and parameters, as `model.json` has them."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {"kind": self.kind, **values}

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> Self:
        """Make one of parameters that `described` gave."""
        return cls(**parameters)


def read(
    description: Mapping[str, Any], postprocessors: Iterable[type[Postprocessor]]
) -> Postprocessor:
    """Make a postprocessor of what `described` gave.

    Args:
        description: Kind and parameters.
        postprocessors: Those that there may be.
    """
    parameters = dict(description)
    kind = parameters.pop("kind")
    known = {each.kind: each for each in postprocessors}
    return known[kind].of(parameters)


@dataclass(frozen=True)
class Unchanged(Postprocessor):
    """Outputs that are predictions already."""

    def __call__(self, outputs: Tensor) -> Tensor:
        """Return the outputs."""
        return outputs


@dataclass(frozen=True)
class InUnits(Postprocessor):
    """Outputs that are standardised, and predictions in units."""

    mean: Sequence[float] = ()
    """What is added, one a column or one for all; empty where nothing was standardised."""
    sd: Sequence[float] = ()
    """By what is multiplied before."""

    def unscaled(self, values: Tensor, *, each: int = 1) -> Tensor:
        """Take standardised values (N, …) to their units.

        Args:
            values: As many columns as there are means, or any number where there is one.
            each: Columns beside each other that belong to one mean.
        """
        if not self.sd:
            return values
        mean, sd = ([v for v in of for _ in range(each)] for of in (self.mean, self.sd))
        return values * values.new_tensor(sd) + values.new_tensor(mean)


def statistics(scaler: StandardScaler | None) -> dict[str, list[float]]:
    """Return mean and sd of a scaler as JSON has them; nothing without one."""
    if scaler is None:
        return {}
    return {"mean": scaler.mean.reshape(-1).tolist(), "sd": scaler.sd.reshape(-1).tolist()}
