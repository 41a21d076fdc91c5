"""The parts of what a training changes, by the names that they have in checkpoints."""

import torch

from talweg.worker.losses import LossModule
from talweg.worker.training.precision import GradScaler
from talweg.worker.training.state.snapshot import Modules, Optimizer, RandomState, Stateful
from talweg.worker.training.state.training_state import TrainingState


def trained(state: TrainingState, criterion: LossModule) -> dict[str, Stateful]:
    """Return the weights and buffers of model and loss, and the optimizer's state."""
    return {
        "model": Modules(state.model),
        "loss": Modules(criterion, without=state.model),
        "optimizer": Optimizer(state.optimizer),
    }


def changed_by_steps(
    state: TrainingState,
    criterion: LossModule,
    *,
    device: torch.device,
    scaler: GradScaler | None,
) -> dict[str, Stateful]:
    """Return all that forward pass, backward pass and update change."""
    return {
        **trained(state, criterion),
        "random": RandomState(device),
        **({} if scaler is None else {"scaler": scaler}),
    }
