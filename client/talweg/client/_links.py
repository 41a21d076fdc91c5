"""Links to the pages of MLflow that compare runs."""

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from talweg.spec import goal_of, primary_metric
from talweg.spec.tracking import runs_page, sweep_view_key, view_key, view_page
from talweg.v1 import options_pb2

if TYPE_CHECKING:
    from talweg.client._handle import JobInfo
    from talweg.client.sweeps._handle import SweepInfo

# Browsers and servers truncate longer URLs.
MAX_LINKED_RUNS = 100


def sweep_url(sweep: "SweepInfo") -> str | None:
    """Return the URL of the page in MLflow that compares the runs of a sweep.

    None until its summary is there, if its tracking server has no pages, or if it has taken over
    jobs, whose runs are those of earlier sweeps.

    Args:
        sweep: The sweep.
    """
    run = sweep.message.tracking
    if not run.url or sweep.message.num_reused:
        return None
    base = run.url.partition("/#/")[0]
    return view_page(base, experiment_id=run.experiment_id, key=sweep_view_key(sweep.id))


def compare_url(
    jobs: Iterable["JobInfo"], *, metric: str | None = None, whole_experiment: bool = False
) -> str | None:
    """Return the URL of the page in MLflow that compares the runs of jobs, with their curves.

    None if fewer than two jobs have runs there yet, or their tracking server has no pages. For
    more than 100 runs, the page of their experiment.

    Args:
        jobs: The jobs.
        metric: The best by this metric come first; by that of most jobs' task if None.
        whole_experiment: The jobs are all jobs of their experiment: its page opens on charts of
            their results, with a mean for each loss.
    """
    tracked = [job for job in jobs if job.message.tracking.url]
    # The seeds of a setting may have one run together.
    runs = list(dict.fromkeys(job.message.tracking.run_id for job in tracked))
    if len(runs) < 2:
        return None
    base = tracked[0].message.tracking.url.partition("/#/")[0]
    experiments = list(dict.fromkeys(job.message.tracking.experiment_id for job in tracked))
    ((main, _),) = Counter(primary_metric(job.message.spec) for job in tracked).most_common(1)
    if len(experiments) == 1 and (whole_experiment or len(runs) > MAX_LINKED_RUNS):
        return view_page(base, experiment_id=experiments[0], key=view_key(main))
    if len(runs) > MAX_LINKED_RUNS:
        return None
    order = metric or main
    goals = (goal_of(job.message.spec, order) for job in tracked)
    return runs_page(
        base,
        experiment_ids=experiments,
        run_ids=runs,
        metric=order,
        ascending=all(goal != options_pb2.MAXIMIZE for goal in goals),
    )
