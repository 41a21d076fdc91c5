"""Which metric jobs can be compared by."""

from collections.abc import Sequence

from talweg.server.differences import differing
from talweg.server.errors import BadMetric, FieldProblem
from talweg.server.store.record.rows import JobRow
from talweg.spec import goal_of, metrics_of, primary_metric
from talweg.spec.semantics.comparable import comparable_metrics, definitions, is_loss
from talweg.spec.spelling import nearest

_MOST_NAMED = 5


def common_metric(rows: Sequence[JobRow]) -> str:
    """Return the primary metric of all these jobs; empty where there are no jobs.

    Raises:
        BadMetric: They have different ones.
    """
    names = dict.fromkeys(primary_metric(row.job_spec) for row in rows)
    if len(names) > 1:
        raise _refused(
            f"must be set, since the jobs' tasks have different metrics: {', '.join(names)}"
        )
    return next(iter(names), "")


def check_known(metric: str, rows: Sequence[JobRow]) -> None:
    """Refuse a name that none of the jobs can ever have, so that a misspelt one is noticed.

    Raises:
        BadMetric: It is such a name.
    """
    known = {"lr", "train/loss", "val/loss", "test/loss"}
    for row in rows:
        for facts in metrics_of(row.job_spec):
            if not facts.by_class:
                known |= {f"val/{facts.name}", f"test/{facts.name}"}
            elif goal_of(row.job_spec, metric) == facts.goal:
                known.add(metric)
    # What else is measured in training, such as guard/grad_norm, is the worker's to say.
    of_training = "/" in metric and not metric.startswith(("test/", "val/"))
    if metric in known or of_training:
        return
    description = f"found {metric!r}; allowed: {', '.join(sorted(known))}"
    meant = metric if "/" in metric else f"test/{metric}"
    if hint := nearest(meant, known):
        description += f". {hint}"
    raise _refused(description)


def check_one_metric(metric: str, rows: Sequence[JobRow]) -> None:
    """Refuse a metric that is not the same function of the predictions for all jobs.

    Args:
        metric: Its name.
        rows: The jobs.

    Raises:
        BadMetric: The loss, its parameters or the scale of its targets differ, or what another
            metric of this name measures.
    """
    # Jobs of a sweep share few of these parts.
    parts = definitions(metric, (row.job_spec for row in rows))
    if len(parts) < 2:
        return
    paths = differing(parts)
    if any(part.evaluation != parts[0].evaluation for part in parts):
        paths.append("evaluation.metrics")
    named = ", ".join(paths[:_MOST_NAMED]) + (", …" if len(paths) > _MOST_NAMED else "")
    what = "loss" if is_loss(metric) else "metric"
    allowed = _comparable_metrics(metric, rows)
    if allowed:
        hint = f"compare by {', '.join(allowed)}"
    elif is_loss(metric):
        hint = "compare jobs of one loss, or keep validation or test data and compare by a metric"
    else:
        hint = "compare jobs for which it is the same"
    raise _refused(f"{metric} is not the same {what} for all jobs: they differ in {named}; {hint}")


def _comparable_metrics(metric: str, rows: Sequence[JobRow]) -> list[str]:
    """Return the metrics that all jobs have and no loss enters, of the part of data asked for."""
    part = metric.partition("/")[0]
    if part not in ("val", "test"):
        part = "test"
        if any(not row.job_spec.split.test for row in rows):
            part = "val"
        if part == "val" and any(not row.job_spec.split.validation for row in rows):
            return []
    return comparable_metrics(part, [row.job_spec for row in rows])


def _refused(description: str) -> BadMetric:
    return BadMetric(f"metric: {description}", fields=[FieldProblem("metric", description)])
