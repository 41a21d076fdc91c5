"""The training loop."""

from typing import Protocol

from talweg.v1.jobs_pb2 import Divergence
from talweg.worker.training.batching.batches import Batches, Plan
from talweg.worker.training.batching.curriculum import EVERYTHING, Curriculum
from talweg.worker.training.interface import Control, Reporter, Stop
from talweg.worker.training.state.training_state import TrainingState
from talweg.worker.training.step import Step


class Evaluator(Protocol):
    """What happens between epochs."""

    def epoch_ended(self, state: TrainingState) -> bool:
        """Evaluate where it is due, and tell whether training is to go on."""


class Checkpoints(Protocol):
    """What keeps the state, so that another attempt can go on from it."""

    def step_done(self) -> None:
        """Keep the state where that is due: called between steps, so this must be cheap."""

    def evaluated(self) -> None:
        """Look at an evaluation, should the state be the best so far."""


class _NoCheckpoints:
    def step_done(self) -> None:
        pass

    def evaluated(self) -> None:
        pass


NO_CHECKPOINTS: Checkpoints = _NoCheckpoints()
"""Keeps nothing."""


def train(
    step: Step,
    *,
    plan: Plan,
    batches: Batches,
    evaluator: Evaluator,
    report: Reporter,
    control: Control,
    checkpoints: Checkpoints = NO_CHECKPOINTS,
    curriculum: Curriculum = EVERYTHING,
) -> Stop | Divergence | None:
    """Train from the state's step to the plan's last.

    Returns:
        What cut it short: the control's stop, or a step that the guard refused and that the
        policy did not go on from. A refused step's batches leave no trace in weights, buffers and
        optimizer. None at the end.
    """
    state = step.state
    last_step, last_epoch = plan.length.steps, plan.epochs
    while state.step < last_step and not state.stopped_early:
        if state.order.position == 0:
            state.epoch += 1
        curriculum.epoch_begins(state.epoch)
        for window in batches.of_epoch(state.order):
            divergence = step.take(window)
            if divergence is not None:
                return divergence
            if step.rolled_back:
                break
            report.progress(state.step, last_step, state.epoch, last_epoch)
            if state.step == last_step:
                break
            if step.is_settled:
                checkpoints.step_done()
            stop = control.check()
            if stop is not None:
                step.settle()
                return stop
        if step.rolled_back:
            continue
        curriculum.epoch_ended(state.step)
        state.stopped_early = not evaluator.epoch_ended(state)
        if plan.ends_epoch(state.order):
            state.order.position = 0
        checkpoints.evaluated()
    return None
