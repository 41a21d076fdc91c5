"""Passes through network and loss that leave no trace in a training."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from talweg.worker.training.setup import Setup
from talweg.worker.training.state import parts
from talweg.worker.training.state.snapshot import Snapshot, Snapshots


class Undo:
    """Takes back whatever forward pass, backward pass and update change."""

    def __init__(self, setup: Setup, device: torch.device) -> None:
        """Take a training and its device."""
        state, learner = setup.state, setup.learner
        self._update = state.update
        self._snapshots = Snapshots(
            parts.changed_by_steps(
                state,
                learner.task.criterion,
                device=device,
                scaler=learner.precision.scaler,
            )
        )

    def capture(self) -> Snapshot:
        """Return the state as it is."""
        return self._snapshots.capture()

    def become(self, snapshot: Snapshot) -> None:
        """Make the state another, without gradients."""
        self._snapshots.restore(snapshot)
        self._update.clear()

    @contextmanager
    def __call__(self) -> Iterator[Snapshot]:
        """Take all back in the end that is done meanwhile; gives the state to go back to."""
        before = self.capture()
        try:
            yield before
        finally:
            self.become(before)
