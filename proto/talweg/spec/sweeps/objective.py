"""What the settings of a sweep are chosen by, and what its answer compares."""

from collections.abc import Iterator, Sequence

from talweg.spec.errors import Violation, shown
from talweg.spec.semantics.comparable import comparable_metrics, is_loss, is_one_metric
from talweg.spec.semantics.metrics import goal_of
from talweg.spec.spelling import nearest
from talweg.spec.sweeps.checks import first_settings
from talweg.spec.sweeps.placing import where
from talweg.spec.sweeps.plan import Plan
from talweg.v1.options_pb2 import Goal
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.sweeps_pb2 import Asha, Objective, SweepSpec


def fill_objective(spec: SweepSpec, first: JobSpec) -> None:
    """Set the metrics of a sweep where they are absent, by a job of it.

    Args:
        spec: Changed in place.
        first: One of its jobs, filled.
    """
    known = comparable_metrics("val", [first])
    if not spec.objective.HasField("metric"):
        spec.objective.metric = known[0] if known else "val/loss"
    if not spec.objective.HasField("at"):
        spec.objective.at = Objective.best
    if spec.HasField("compare") and not spec.compare.HasField("metric"):
        name = spec.objective.metric.partition("/")[2]
        spec.compare.metric = f"test/{name}"


def check_objective(spec: SweepSpec, jobs: Sequence[JobSpec]) -> Iterator[Violation]:
    """Check that the jobs of a sweep can be compared by its metrics.

    Args:
        spec: With its metrics.
        jobs: Settings in which each value occurs, filled.
    """
    yield from _metric("objective.metric", spec.objective.metric, "val", jobs)
    if any(not job.split.validation for job in jobs):
        hint = "settings are chosen on validation data"
        yield Violation("base.split.validation", "0", "a number > 0", hint)
    if spec.HasField("compare"):
        yield from _metric("compare.metric", spec.compare.metric, "test", jobs)
        if any(not job.split.test for job in jobs):
            hint = "compared values are compared on test data"
            yield Violation("base.split.test", "0", "a number > 0", hint)
    if spec.objective.at == Objective.best:
        yield from _watched(spec)
    if spec.pruning.HasField("asha"):
        yield from _asha(spec.pruning.asha, jobs)


def _asha(asha: Asha, jobs: Sequence[JobSpec]) -> Iterator[Violation]:
    """Check that some job comes to the first decision, as far as is known before it runs."""
    if any(job.training.WhichOneof("length") == "steps" for job in jobs):
        return
    # Each value occurs in some job, the two that give the most maybe not in one.
    longest = max(job.training.epochs for job in jobs)
    most = -(-longest // min(job.training.evaluate_every_epochs for job in jobs))
    if asha.min_evaluations > most:
        found, allowed = shown(asha.min_evaluations), f"a number <= {most}"
        hint = "jobs have no more evaluations, so that no trial would be stopped"
        yield Violation("pruning.asha.min_evaluations", found, allowed, hint)


def _watched(spec: SweepSpec) -> Iterator[Violation]:
    """Check that early stopping keeps the weights of the evaluation that counts."""
    plan = Plan(spec)
    for setting in first_settings(plan):
        watched = plan.job(setting, 0).training.early_stopping.metric
        if watched != spec.objective.metric:
            hint = (
                "the weights of the best evaluation are kept and tested, so both must name one "
                "metric; leave it out of early_stopping, or set objective.at to last"
            )
            allowed = f"{spec.objective.metric}, the objective"
            at = where("training.early_stopping.metric", setting)
            yield Violation(at, shown(watched), allowed, hint)
            return


def _metric(at: str, metric: str, part: str, jobs: Sequence[JobSpec]) -> Iterator[Violation]:
    known = comparable_metrics(part, jobs)
    allowed = f"one of {', '.join(known)}" if known else f"a metric {part}/…"
    if not metric.startswith(f"{part}/"):
        yield Violation(at, shown(metric), allowed, nearest(f"{part}/{metric}", known))
    elif any(goal_of(job, metric) == Goal.GOAL_UNSPECIFIED for job in jobs):
        yield Violation(at, shown(metric), allowed, nearest(metric, known))
    elif not is_one_metric(metric, jobs):
        what = "the loss" if is_loss(metric) else "this metric"
        hint = f"the sweep varies what {what} is, so its values cannot be compared"
        yield Violation(at, shown(metric), allowed, hint)
