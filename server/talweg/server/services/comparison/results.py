"""What each of several jobs has reached so far, by its own main metric."""

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection

from talweg.server.services.comparison.measured import measured
from talweg.server.store.record.rows import JobRow
from talweg.spec import goal_of, primary_metric
from talweg.v1.jobs_pb2 import Result

_LAST_RESORT = "train/loss"


def results(connection: Connection, rows: Sequence[JobRow]) -> Mapping[int, Result]:
    """Return the value of the main metric of each job that has one, by `seq`.

    Args:
        connection: To read by.
        rows: The jobs, of any tasks.
    """
    begun = [row for row in rows if row.attempt]
    by_metric: dict[str, list[JobRow]] = {}
    for row in begun:
        for metric in _metrics(primary_metric(row.job_spec)):
            by_metric.setdefault(metric, []).append(row)
    values = {metric: measured(connection, of, metric) for metric, of in by_metric.items()}
    reached: dict[int, Result] = {}
    for row in begun:
        spec = row.job_spec
        for metric in _metrics(primary_metric(spec)):
            if (measure := values[metric].get(row.seq)) is not None:
                reached[row.seq] = Result(
                    metric=metric,
                    value=measure.value,
                    step=measure.step,
                    goal=goal_of(spec, metric),
                )
                break
    return reached


def _metrics(primary: str) -> Sequence[str]:
    """Return the metrics that stand for a job, the first that has a value."""
    on_validation = primary.replace("test/", "val/", 1)
    return tuple(dict.fromkeys((primary, on_validation, _LAST_RESORT)))
