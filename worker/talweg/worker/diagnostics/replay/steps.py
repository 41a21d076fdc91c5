"""Takes the steps up to the one that is replayed, measures it, and looks at the one after it."""

import math
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from talweg.v1.jobs_pb2 import Divergence
from talweg.v1.replay_pb2 import Replay, ReplayedStep, ReplayWithout
from talweg.worker.diagnostics.replay.layers import LayerProbe
from talweg.worker.diagnostics.replay.rows import NONE, RowLosses, row_losses
from talweg.worker.diagnostics.replay.undone import Undo
from talweg.worker.errors import UserSpecError
from talweg.worker.tasks import Batch
from talweg.worker.training.guard.guard import Reading
from talweg.worker.training.setup import Setup
from talweg.worker.training.state.snapshot import Snapshot
from talweg.worker.training.step import Step, forward_backward

MOST_HISTORY = 1000
"""Steps before the replayed one, and that itself, whose losses are kept."""
_MOST_NAMED = 20


@dataclass
class Findings:
    """What the replayed step has shown."""

    probe: LayerProbe
    """Its layers."""
    epoch: int
    """Its epoch."""
    rows: Sequence[int]
    """Of each of its samples the row in the data set."""
    samples: Sequence[int]
    """Of each of its samples the index into the training split."""
    losses: RowLosses = NONE
    """Its rows' losses."""
    reading: Reading = Reading(math.nan, math.nan)
    """What the guard saw."""
    learning_rate: float = math.nan
    """Its learning rate."""
    divergence: Divergence | None = None
    """Why training ended with it; None where it went on."""
    without: ReplayWithout | None = None
    """The step without some rows."""
    next_loss: float | None = None
    """The loss of the step after it; None where there is none."""
    done_at: float = 0.0
    """When all of it was known, by the performance counter."""


class ReplaySteps(Step):
    """Takes steps as `Step` does, each read by itself, until the replay is done."""

    def __init__(self, setup: Setup, asked: Replay, device: torch.device) -> None:
        """Take the place of a run's own step.

        Args:
            setup: The run, its state restored.
            asked: The step, and the rows to leave out.
            device: Where it trains.
        """
        step = setup.step
        super().__init__(
            state=step.state,
            loss_of=step.loss_of,
            schedule=step.schedule,
            guard=step.guard,
            policy=step.policy,
            spikes=step.spikes,
            health=step.health,
            recorder=step.recorder,
            process_group=step.process_group,
        )
        self._setup, self._asked, self._device = setup, asked, device
        self._undo = Undo(setup, device)
        self._variant: Snapshot | None = None
        self._reading = Reading(math.nan, math.nan)
        self.history: deque[ReplayedStep] = deque(maxlen=MOST_HISTORY)
        """The last steps, oldest first, up to the replayed one."""
        self.findings: Findings | None = None
        """What the step has shown; None before it."""
        self.is_done = False
        """Whether there is nothing more to look at."""

    def take(self, window: Sequence[Batch]) -> Divergence | None:
        """Take a step; see `Step.take`. The step after the replayed one is not taken."""
        number = self.state.step + 1
        if self.findings is not None:
            self._look_ahead(self.findings, window)
            return None
        if number == self._asked.step:
            return self._measure(window)
        return self._take(window)

    def _read(self, loss: Tensor, window: Sequence[Batch]) -> Reading:
        self._reading = super()._read(loss, window)
        return self._reading

    def _take(self, window: Sequence[Batch]) -> Divergence | None:
        divergence = super().take(window)
        self.history.append(
            ReplayedStep(
                step=self.state.step,
                loss=self._reading.loss,
                gradient_norm=self._reading.norm,
            )
        )
        return divergence

    def _measure(self, window: Sequence[Batch]) -> Divergence | None:
        """Measure the step before it is taken, and take it as if nobody had looked."""
        setup, state = self._setup, self.state
        samples, _ = setup.batches.samples(state.order)
        rows = setup.splits.bundle.train_rows[np.asarray(samples)].tolist()
        findings = Findings(LayerProbe(state.model), state.epoch, rows, samples)
        probe, scale = findings.probe, self.guard.scale
        findings.learning_rate = self.set_learning_rate()
        with self._undo(), probe.watching():
            forward_backward(window, self.loss_of, scale)
            probe.gradients(scale)
        findings.losses = row_losses(setup, window, self._undo)
        if self._asked.without:
            findings.without = self._leave_out(rows, window)
        probe.weights()
        findings.divergence = self._take(window)
        probe.updated()
        findings.reading = self._reading
        findings.done_at = time.perf_counter()
        self.findings = findings
        return findings.divergence

    def _leave_out(self, rows: Sequence[int], window: Sequence[Batch]) -> ReplayWithout:
        """Take the step without some rows, keep where it leads to, and take it back."""
        out = set(self._asked.without)
        self._check_rows(out, rows)
        remaining = [row not in out for row in rows]
        with self._undo():
            self.guard.remember()
            less = self._setup.batches.select(window, remaining)
            loss = forward_backward(less, self.loss_of, self.guard.scale)
            reading = super()._read(loss, less)
            if reading.finite:
                self.state.update.step()
            self._variant = self._undo.capture()
        return ReplayWithout(rows=sorted(out), loss=reading.loss, gradient_norm=reading.norm)

    def _check_rows(self, out: set[int], rows: Sequence[int]) -> None:
        step = self._asked.step
        some = ", ".join(map(str, sorted(set(rows))[:_MOST_NAMED]))
        more = len(set(rows)) - _MOST_NAMED
        listed = f"{some} and {more} more" if more > 0 else some
        strange = sorted(out - set(rows))
        if strange:
            raise UserSpecError(
                f"replay.without: row {strange[0]} is not in step {step}, which has the rows "
                f"{listed}"
            )
        if not set(rows) - out:
            raise UserSpecError(
                f"replay.without must leave at least one row of step {step}, which has the rows "
                f"{listed}"
            )

    def _look_ahead(self, findings: Findings, window: Sequence[Batch]) -> None:
        """Take the loss of the next step, as it is and after a step without some rows."""
        with self._undo() as now:
            loss = forward_backward(window, self.loss_of, self.guard.scale, self.process_group)
            findings.next_loss = float(loss)
            if self._variant is not None and findings.without is not None:
                self._undo.become(_with_random_state(self._variant, now))
                findings.without.next_loss = float(forward_backward(window, self.loss_of, 1.0))
        findings.done_at = time.perf_counter()
        self.is_done = True


def _with_random_state(snapshot: Snapshot, of: Snapshot) -> Snapshot:
    """Return a snapshot that draws what another would."""
    drawn = {name: t for name, t in of.tensors.items() if name.startswith("random/")}
    return Snapshot({**snapshot.tensors, **drawn}, snapshot.values)
