"""A run of a job with all that `diagnostics` of its spec asks for."""

from talweg.spec import primary_metric
from talweg.v1.jobs_pb2 import LogLine
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker import training
from talweg.worker.diagnostics.baselines import baselines_of
from talweg.worker.diagnostics.landscape import look_around
from talweg.worker.diagnostics.one_batch import learn_one_batch
from talweg.worker.diagnostics.rate_range import try_learning_rates
from talweg.worker.diagnostics.replay import replay
from talweg.worker.diagnostics.stopping import StoppedError, until_stopped
from talweg.worker.diagnostics.trivial import far_worse, trivial_metrics
from talweg.worker.tasks import EvalResult
from talweg.worker.training import Control, Reporter, Result, Stop, Store
from talweg.worker.training.job import RunContext
from talweg.worker.training.optim import optimizers
from talweg.worker.training.setup import Setup


def run(
    spec: JobSpec,
    *,
    report: Reporter,
    control: Control,
    device: str | None = None,
    store: Store | None = None,
) -> Result:
    """Train as a spec says, and diagnose what it asks for; as `training.run` in all else.

    A spec with `replay` replays a step of another job instead.
    """
    if spec.HasField("replay"):
        return replay(spec, report=report, control=control, device=device, store=store)
    return training.run(
        spec,
        report=report,
        control=control,
        device=device,
        store=store,
        diagnoses=_BySpec(),
    )


class _BySpec:
    """What the spec of a run asks for; see `Diagnoses`."""

    def before_training(self, setup: Setup, context: RunContext) -> None:
        asked, report, control = context.spec.diagnostics, context.report, context.control
        learning_rate = optimizers.learning_rate(context.spec.optimizer)
        if asked.one_batch_steps:
            learn_one_batch(
                setup,
                asked.one_batch_steps,
                learning_rate=learning_rate,
                report=report,
                control=control,
            )
        if asked.HasField("rate_range"):
            try_learning_rates(
                setup,
                asked.rate_range,
                learning_rate=learning_rate,
                report=report,
                control=control,
            )

    def instead_of_training(self, setup: Setup, context: RunContext) -> Result | None:
        return None

    def after_test(self, setup: Setup, tested: EvalResult, context: RunContext) -> Stop | None:
        """Tell what a predictor that knows nothing would have reached, where that is asked for.

        Where the model is far worse it is told in any case, but for a job that will not have it.
        """
        if context.spec.diagnostics.HasField("baseline"):
            try:
                _compare_with_baselines(setup, tested, context)
            except StoppedError as stopped:
                if stopped.stop.reason != "time_limit":
                    return stopped.stop
                context.report.log(
                    LogLine.WARNING,
                    "The time limit was reached before all baselines were trained: the rest is "
                    "skipped.",
                )
        _compare_with_trivial(setup, tested, context)
        return None

    def after_training(self, setup: Setup, context: RunContext) -> Stop | None:
        asked = context.spec.diagnostics
        if not asked.HasField("loss_landscape"):
            return None
        return look_around(
            setup, asked.loss_landscape, report=context.report, control=context.control
        )


def _compare_with_trivial(setup: Setup, tested: EvalResult, context: RunContext) -> None:
    """Report the metrics of a predictor that knows nothing, and say where it is far better."""
    spec, report = context.spec, context.report
    asked = spec.diagnostics.trivial
    if tested.predictions is None or (spec.HasField("diagnostics") and not asked):
        return
    values = trivial_metrics(setup.learner.task, setup.splits.bundle, tested.predictions)
    if values is None:
        if asked:
            report.log(LogLine.INFO, "There is no trivial baseline for this task.")
        return
    warning = far_worse(
        spec, tested.values, values, learning_rate=optimizers.learning_rate(spec.optimizer)
    )
    if asked or warning is not None:
        setup.step.recorder.evaluation(setup.state.step, "trivial", values)
    if warning is not None:
        report.warning(warning)


def _compare_with_baselines(setup: Setup, tested: EvalResult, context: RunContext) -> None:
    """Train the baselines that a spec asks for, and report their metrics.

    Raises:
        StoppedError: The run must stop.
    """
    report = context.report
    found = baselines_of(setup.learner.task, context.spec, setup.splits.bundle, tested)
    if found is None:
        report.log(LogLine.INFO, "There are no baselines for this task.")
        return
    if found.left_out:
        report.log(LogLine.INFO, f"{found.left_out}.")
    metric = primary_metric(context.spec).partition("/")[2]
    for name, values in until_stopped(found.metrics, context.control):
        setup.step.recorder.evaluation(setup.state.step, name, values)
        if metric in values and metric in tested.values:
            report.log(
                LogLine.INFO,
                f"{name} (scikit-learn) reaches {metric} {values[metric]:.5g} on the test data, "
                f"the network {tested.values[metric]:.5g}.",
            )
