"""What happens between epochs: evaluation, reduction of the learning rate, early stopping."""

import math

from talweg.spec import goal_of, judges_loss, metrics_of, undefined_when
from talweg.v1.jobs_pb2 import LogLine, Warning
from talweg.v1.options_pb2 import MAXIMIZE
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.tasks import EvalResult, TaskRunner
from talweg.worker.training.batching.batches import Plan
from talweg.worker.training.evaluation import HeldSplit, evaluate
from talweg.worker.training.interface import Reporter
from talweg.worker.training.monitors.recorder import Recorder
from talweg.worker.training.optim.lr_schedules import Plateau
from talweg.worker.training.state.training_state import BestValue, TrainingState

# Evaluations in a row without a value that are no chance, where no patience says otherwise.
_FEWEST_MISSING = 10


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
        self._spec = spec
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
        self._keeps_best = training.checkpoints.keep_best
        self._said: set[str] = set()

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
        # However little better it is: min_delta is for patience alone.
        is_best = self._see(state.leading, self._leading, values, state.step)
        if is_best and self._stopping is not None:
            state.keep_best()
        if self._keeps_best:
            field = "training.checkpoints.keep_best"
            self._say_missing(state.leading, self._leading, field, _FEWEST_MISSING)
        self._lower_rate(state, values)
        return self._go_on(state, values)

    def is_due(self, state: TrainingState) -> bool:
        """Return whether the epoch that has ended is one to evaluate after."""
        at_end = state.step == self._plan.length.steps
        return len(self._validation) > 0 and (at_end or state.epoch % self._every == 0)

    def _lower_rate(self, state: TrainingState, values: dict[str, float]) -> None:
        if self._plateau is None:
            return
        metric, patience = self._plateau.metric, self._plateau.patience
        self._see(state.plateau, metric, values, state.step)
        self._say_missing(state.plateau, metric, "schedule.plateau.metric", patience)
        if state.plateau.waited >= patience:
            state.lr_reductions += 1
            state.plateau.waited = 0

    def _go_on(self, state: TrainingState, values: dict[str, float]) -> bool:
        if self._stopping is None:
            return True
        metric, stopping = self._stopping.metric, state.stopping
        self._see(stopping, metric, values, state.step, self._stopping.min_delta)
        field = "training.early_stopping.metric"
        self._say_missing(stopping, metric, field, self._stopping.patience)
        if stopping.waited < self._stopping.patience:
            return True
        self._report.log(
            LogLine.INFO,
            f"Stopped early at step {state.step}, epoch {state.epoch}: {metric} has not improved "
            f"for {stopping.waited} evaluations.",
        )
        return False

    def _see(
        self,
        best: BestValue,
        metric: str,
        values: dict[str, float],
        step: int,
        min_delta: float = 0.0,
    ) -> bool:
        """Take an evaluation's value, if it has one, and tell whether it is the best so far."""
        value = values.get(metric, math.nan)
        return best.see(value, step=step, maximise=self._maximises[metric], min_delta=min_delta)

    def _say_missing(self, best: BestValue, metric: str, field: str, patience: int) -> None:
        """Say once that a metric has no value, and warn where it goes on to have none."""
        when = undefined_when(self._spec, metric)
        why = f"it is undefined where {when}, or where" if when else "it is undefined where"
        why += " the outputs are not finite"
        if best.missing == 1 and metric not in self._said:
            self._said.add(metric)
            text = f"{metric} has no value: {why}. {field} does not count such evaluations."
            self._report.log(LogLine.INFO, text)
        if best.missing == max(patience, _FEWEST_MISSING):
            since = "never had a value" if math.isnan(best.best) else "had no value any more"
            self._report.warning(
                Warning(
                    kind=Warning.METRIC_UNDEFINED,
                    field=field,
                    message=f"{metric} has {since} in {best.missing} evaluations in a row: {why}. "
                    f"Nothing is decided by it as long as it has none; name a metric that always "
                    f"has one, such as {self._always(metric)}, or see why it has none.",
                )
            )

    def _always(self, metric: str) -> str:
        """Name a metric that has a value wherever outputs are finite."""
        if judges_loss(self._spec) and metric != "val/loss":
            return "val/loss"
        known = (facts for facts in metrics_of(self._spec) if not facts.undefined)
        return next((f"val/{facts.name}" for facts in known), "another")
