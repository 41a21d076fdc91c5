"""Good states that training can go back to, kept in memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from talweg.worker.training import foreach
from talweg.worker.training.state import TrainingState


class Kept:
    """What a run has learnt up to a step: weights, buffers and the optimizer's own state."""

    def __init__(self, state: TrainingState) -> None:
        """Copies it."""
        self.step = state.step
        """The step behind which it was kept."""
        self._applied = state.applied
        self._tensors = [tensor.detach().clone() for tensor in _learnt(state)]
        self._of_optimizer = {
            parameter: {key: _copy(value) for key, value in held.items()}
            for parameter, held in state.optimizer.state.items()
        }

    def restore(self, state: TrainingState) -> None:
        """Puts it back, each tensor where it stands. Steps, data and random state go on."""
        state.applied = self._applied
        optimizer = state.optimizer.state
        with torch.no_grad():
            foreach.copy(_learnt(state), self._tensors)
            for parameter in list(optimizer):
                if parameter not in self._of_optimizer:
                    # It had none yet, and begins anew with the parameter's next step.
                    del optimizer[parameter]
                    continue
                held = optimizer[parameter]
                for key, value in self._of_optimizer[parameter].items():
                    if isinstance(value, Tensor) and isinstance(held[key], Tensor):
                        held[key].copy_(value)
                    else:
                        held[key] = _copy(value)


def _learnt(state: TrainingState) -> list[Tensor]:
    return [*state.model.parameters(), *state.model.buffers()]


def _copy(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value
