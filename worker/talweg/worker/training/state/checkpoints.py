"""When the state of a run is kept, and how a run goes on from what was kept."""

import time

import torch

from talweg.v1 import spec_pb2
from talweg.v1.jobs_pb2 import LogLine
from talweg.worker.training.guard.overflow import WeightWatch
from talweg.worker.training.interface import Reporter, Store
from talweg.worker.training.state.snapshot import Snapshot, Snapshots
from talweg.worker.training.state.training_state import TrainingState

# Writing takes no more than this share of the time.
_MOST_SHARE = 1 / 50
_HOST = torch.device("cpu")


class Checkpointer:
    """Keeps one run's state now and then."""

    def __init__(
        self,
        state: TrainingState,
        snapshots: Snapshots,
        store: Store,
        *,
        weights: WeightWatch,
        settings: spec_pb2.Checkpoints,
        report: Reporter,
    ) -> None:
        """Keep nothing yet.

        Args:
            state: The training.
            snapshots: Takes its snapshots.
            store: Where they go.
            weights: Tells what is not fit to be kept.
            settings: Filled.
            report: Told where a run goes on, and what is not fit to be kept.
        """
        self._state, self._snapshots, self._store = state, snapshots, store
        self._weights, self._report = weights, report
        self._settings = settings
        self._every_seconds = float(settings.every_seconds)
        self._keep_best = settings.keep_best
        self._due = time.monotonic() + self._every_seconds
        self._saved_step = 0
        self._best: Snapshot | None = None
        self._best_step = 0
        self._best_kept = 0

    @property
    def kept_step(self) -> int | None:
        """The step of the last checkpoint that the store has; None where it has none."""
        return self._saved_step or None

    def resume(self) -> bool:
        """Go on from what the store has; whether it had anything.

        Raises:
            StoreAwayError: It cannot be reached now.
            ValueError: What it has is another training's.
        """
        snapshot = self._store.load()
        if snapshot is None:
            return False
        self._snapshots.restore(snapshot)
        self._saved_step = self._state.step
        self._best_kept = self._state.leading.step
        self._report.log(LogLine.INFO, f"Resumes from the checkpoint of step {self._state.step}.")
        return True

    def step_done(self) -> None:
        """Keep the state where that is due."""
        if is_due(self._settings, self._state) or time.monotonic() >= self._due:
            self.save()

    def evaluated(self) -> None:
        """Set the state aside where no evaluation was better, to be kept with the next."""
        state = self._state
        if self._keep_best and state.leading.step == state.step > 0:
            self._best = self._snapshots.capture(self._best, device=_HOST)
            self._best_step = state.step

    def save(self) -> None:
        """Keep the state, unless that was done already or it is not fit to go on from."""
        state = self._state
        if self._saved_step == state.step or state.step == 0:
            return
        started = time.monotonic()
        bad = self._weights.bad()
        if bad:
            names = ", ".join(bad)
            text = f"No checkpoint at step {state.step}: weights have diverged in {names}."
            self._report.log(LogLine.WARNING, text)
        else:
            best = None
            if self._best is not None and self._best_step > self._best_kept:
                best = self._best_step, self._best
            snapshot = self._snapshots.now()
            epoch = state.epochs_complete
            if self._store.save(snapshot, step=state.step, epoch=epoch, best=best):
                self._saved_step, self._best_kept = state.step, self._best_step
        now = time.monotonic()
        self._due = now + max(self._every_seconds, (now - started) / _MOST_SHARE)


def is_due(settings: spec_pb2.Checkpoints, state: TrainingState) -> bool:
    """Return whether a state must be kept at its very step, by filled settings."""
    return settings.HasField("every_steps") and state.step % settings.every_steps == 0
