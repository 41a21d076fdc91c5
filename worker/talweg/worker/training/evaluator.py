"""What happens between epochs: evaluation, reduction of the learning rate, early stopping."""

import math

from talweg.spec import goal_of, judges_loss, metrics_of
from talweg.v1.jobs_pb2 import LogLine
from talweg.v1.options_pb2 import MAXIMIZE
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.tasks import EvalResult, TaskRunner
from talweg.worker.training.batches import Plan
from talweg.worker.training.evaluation import HeldSplit, evaluate
from talweg.worker.training.interface import Reporter
from talweg.worker.training.optim.lr_schedules import Plateau
from talweg.worker.training.recorder import Recorder
from talweg.worker.training.state.training_state import TrainingState


class Evaluator:
    """Judges one run by its validation data."""

    def __init__(
        self,
        spec: JobSpec,
        *,
        task: TaskRunner,
        validation: HeldSplit,
        plan: Plan,
        plateau: Plateau | None,
        recorder: Recorder,
        report: Reporter,
    ) -> None:
        """Make the evaluator of a checked spec."""
        training = spec.training
        self.last: EvalResult | None = None
        """The last evaluation; None before the first."""
        self._task = task
        self._validation = validation
        self._plan = plan
        self._recorder = recorder
        self._report = report
        self._every = training.evaluate_every_epochs
        self._plateau = plateau
        self._stopping = training.early_stopping if training.HasField("early_stopping") else None
        watched = [watch.metric for watch in (self._stopping, plateau) if watch is not None]
        watched.append("val/loss" if judges_loss(spec) else f"val/{metrics_of(spec)[0].name}")
        self._leading = watched[0]
        self._maximises = {metric: goal_of(spec, metric) == MAXIMIZE for metric in watched}

    def epoch_ended(self, state: TrainingState) -> bool:
        """Evaluate where it is due, and tell whether training is to go on."""
        if not self.is_due(state):
            return True
        evaluation = evaluate(
            state.model, self._task, self._validation, batch_size=self._plan.batch_size
        )
        self.last = evaluation
        self._recorder.evaluation(state.step, "val", evaluation.values)
        values = {f"val/{name}": value for name, value in evaluation.values.items()}
        state.leading.see(
            values.get(self._leading, math.nan),
            step=state.step,
            maximise=self._maximises[self._leading],
        )
        self._lower_rate(state, values)
        return self._go_on(state, values)

    def is_due(self, state: TrainingState) -> bool:
        """Return whether the epoch that has ended is one to evaluate after."""
        at_end = state.step == self._plan.length.steps
        return len(self._validation) > 0 and (at_end or state.epoch % self._every == 0)

    def _lower_rate(self, state: TrainingState, values: dict[str, float]) -> None:
        if self._plateau is None:
            return
        metric = self._plateau.metric
        state.plateau.see(
            values.get(metric, math.nan), step=state.step, maximise=self._maximises[metric]
        )
        if state.plateau.waited > self._plateau.patience:
            state.lr_reductions += 1
            state.plateau.waited = 0

    def _go_on(self, state: TrainingState, values: dict[str, float]) -> bool:
        if self._stopping is None:
            return True
        metric, stopping = self._stopping.metric, state.stopping
        better = stopping.see(
            values.get(metric, math.nan),
            step=state.step,
            maximise=self._maximises[metric],
            min_delta=self._stopping.min_delta,
        )
        if better:
            state.keep_best()
        if stopping.waited < self._stopping.patience:
            return True
        self._report.log(
            LogLine.INFO,
            f"Stopped early at step {state.step}, epoch {state.epoch}: {metric} has not improved "
            f"for {stopping.waited} evaluations.",
        )
        return False
