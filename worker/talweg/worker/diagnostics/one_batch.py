"""Can the model learn one step's batches by heart? One that cannot has a fault or is too small."""

import math

from talweg.v1.jobs_pb2 import LogLine
from talweg.worker.training.interface import Control, Reporter
from talweg.worker.training.setup import Setup
from talweg.worker.training.step import forward_backward

_LEARNED = 0.1
_LAST = 5


def learn_one_batch(
    setup: Setup, num_steps: int, *, learning_rate: float, report: Reporter, control: Control
) -> None:
    """Train on the first step's batches again and again, and take all of it back.

    Tells the first loss and the mean of the last as metrics of step 0, and what they mean.

    Args:
        setup: A run before its first step; afterwards it is what it was, bit for bit.
        num_steps: How often, at most.
        learning_rate: Of all steps.
        report: Takes the metrics.
        control: Whether to stop before.
    """
    state, guard = setup.state, setup.step.guard
    before = setup.snapshots.capture()
    losses: list[float] = []
    state.epoch = 1
    setup.curriculum.epoch_begins(state.epoch)
    window = next(setup.batches.of_epoch(state.order))
    state.update.set_learning_rate(learning_rate)
    for _ in range(num_steps):
        guard.remember()
        reading = guard.inspect(forward_backward(window, setup.loss_of, guard.scale))
        if reading.again:
            guard.restore()
            continue
        if not reading.finite or control.check() is not None:
            guard.restore()
            break
        losses.append(reading.loss)
        state.update.step()
        state.update.clear()
        state.applied += 1
    setup.snapshots.restore(before)
    if not losses:
        return
    first, last = losses[0], math.fsum(losses[-_LAST:]) / len(losses[-_LAST:])
    report.metrics(0, {"one_batch/first_loss": first, "one_batch/last_loss": last})
    if last <= _LEARNED * first:
        steps = f"In {len(losses)} steps on only the first batch"
        report.log(LogLine.INFO, f"{steps} its loss fell from {first:.4g} to {last:.4g}.")
        return
    report.log(
        LogLine.WARNING,
        f"In {len(losses)} steps on only the first batch its loss went from {first:.4g} to "
        f"{last:.4g}: a model that cannot overfit one batch is too small, or the learning rate, "
        "loss or data are wrong. Dropout, or a loss whose minimum is not 0, has the same effect.",
    )
