"""What the jobs of a sweep have reached by its objective."""

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection

from talweg.server.services.comparison.measured import measured
from talweg.server.store import metrics
from talweg.server.store.record.rows import JobRow
from talweg.spec.sweeps import Plan
from talweg.v1.sweeps_pb2 import Objective

_IN_ONE_STATEMENT = 1000


def objective_values(
    connection: Connection, jobs: Sequence[JobRow], plan: Plan
) -> Mapping[int, float]:
    """Return the value of the objective of those jobs that have one, by `seq`.

    Args:
        connection: To read by.
        jobs: The jobs.
        plan: Of their sweep.
    """
    values: dict[int, float] = {}
    for start in range(0, len(jobs), _IN_ONE_STATEMENT):
        values |= _values(connection, jobs[start : start + _IN_ONE_STATEMENT], plan)
    return values


def _values(connection: Connection, jobs: Sequence[JobRow], plan: Plan) -> dict[int, float]:
    objective = plan.spec.objective
    if objective.at == Objective.best:
        # The weights of the best evaluation are kept.
        found = measured(connection, jobs, objective.metric)
        return {seq: each.value for seq, each in found.items()}
    summaries = metrics.of_jobs(connection, [job.seq for job in jobs], [objective.metric])
    return {seq: each[objective.metric].last for seq, each in summaries.items()}
