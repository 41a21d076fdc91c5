"""Gradient flow: how large each layer's gradients and updates are, over the training."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from talweg.worker.training.interface import Table
from talweg.worker.training.monitors.layers import Gradients, Layers, layer_norms
from talweg.worker.training.state.snapshot import Values
from talweg.worker.training.state.training_state import TrainingState

_COLUMNS = ("gradient", "update")


class GradientFlow:
    """Keeps what some steps, evenly over a training, show of its layers.

    Each such step: `look`, the update, `updated`.
    """

    def __init__(
        self, layers: Layers, *, order: Sequence[str], points: int, num_steps: int, turns: int = 1
    ) -> None:
        """Begin with no step seen.

        Args:
            layers: Of the model.
            order: Their names in the order of the table.
            points: Steps to look at, at the most.
            num_steps: Of the training.
            turns: Steps after which the same weights learn again; all turns are met.
        """
        self._layers = layers
        self._order = list(order)
        self._apart = max(1, math.ceil(num_steps / points))
        while math.gcd(self._apart, turns) > 1:
            self._apart += 1
        self.next = 0
        """Steps done before the step that is looked at next."""
        self._steps: list[int] = []
        # NaN where there is nothing to tell.
        shape = (points, len(order), len(_COLUMNS))
        self._values = torch.full(shape, math.nan, dtype=torch.float64)
        self._before: dict[str, list[Tensor]] = {}

    def look(self, state: TrainingState, gradients: Gradients) -> None:
        """Take a step's gradients, and the weights before its update."""
        self.next = state.applied + self._apart
        row = [gradients.norms[name] for name in self._order]
        self._values[len(self._steps), :, 0] = torch.tensor(row, dtype=torch.float64)
        self._steps.append(state.step)
        self._before = {
            name: [parameter.detach().clone() for parameter in parameters]
            for name, parameters in self._layers.parameters.items()
        }

    def updated(self) -> None:
        """Take the weights after the update of the step that was looked at."""
        weights = layer_norms(self._before)
        with torch.no_grad():
            for name, before in self._before.items():
                for was, parameter in zip(before, self._layers.parameters[name], strict=True):
                    was.sub_(parameter)
        moved = layer_norms(self._before)
        self._before = {}
        row = [moved[name] / weights[name] if weights[name] else math.nan for name in self._order]
        self._values[len(self._steps) - 1, :, 1] = torch.tensor(row, dtype=torch.float64)

    def table(self) -> Table | None:
        """Return step, layer, norm of its gradients, and length of its update by its weights'.

        The last is empty where a layer's weights were 0. None before the first such step.
        """
        if not self._steps:
            return None
        norms, ratios = self._values[: len(self._steps)].flatten(0, 1).T.tolist()
        return Table(
            {
                "step": [step for step in self._steps for _ in self._order],
                "layer": self._order * len(self._steps),
                "gradient_norm": norms,
                "update_ratio": [ratio if math.isfinite(ratio) else "" for ratio in ratios],
            }
        )

    def tensors(self) -> Mapping[str, Tensor]:
        """Return what was seen; see `Stateful`."""
        return {"flow": self._values}

    def values(self) -> Values:
        """Return when it was seen; see `Stateful`."""
        return {"next": self.next, "steps": list(self._steps)}

    def restore(self, tensors: Mapping[str, Tensor], values: Values) -> None:
        """Take it back; see `Stateful`."""
        self._values.copy_(tensors["flow"])
        self.next, self._steps = values["next"], list(values["steps"])
