"""What a report shows, read from the service."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING

from talweg.client.comparisons._comparison import NUM_READERS
from talweg.client.sweeps.report.contents import Curve, ReportContents
from talweg.spec import fill, goal_of, to_yaml
from talweg.spec.sweeps import Plan, first_settings
from talweg.v1.jobs_pb2 import Event, Job
from talweg.v1.options_pb2 import Goal
from talweg.v1.sweeps_pb2 import (
    AnswerSweepRequest,
    AnswerSweepResponse,
    ListTrialsRequest,
    SweepSpec,
    Trial,
)

if TYPE_CHECKING:
    from talweg.client._client import Client
    from talweg.client.sweeps._sweeps import Sweep

_PAGE = 1000
# Beyond it a figure shows nothing that fewer trials do not.
MOST_TRIALS = 10_000
_MOST_CURVES = 200


def read(client: "Client", sweep: "Sweep") -> ReportContents:
    """Read what a report of a sweep shows.

    Args:
        client: Reads the jobs.
        sweep: Ended, or so far.

    Raises:
        TalwegError: An error of the server.
    """
    sweep.refresh()
    stubs, call = client._connection.sweeps, client._connection.call
    answer: AnswerSweepResponse = call(stubs.AnswerSweep, AnswerSweepRequest(name=sweep.name))
    trials: list[Trial] = []
    request = ListTrialsRequest(sweep=sweep.name, best_first=True, page_size=_PAGE)
    while len(trials) < MOST_TRIALS:
        page = call(stubs.ListTrials, request)
        trials += [trial for trial in page.trials if not trial.is_final]
        request.page_token = page.next_page_token
        if not request.page_token:
            break
    spec = sweep.message.spec
    return ReportContents(
        sweep=sweep.message,
        answer=answer,
        trials=trials,
        goal=_goal(spec),
        curves=_curves(client, answer, spec.objective.metric),
        sweep_file=to_yaml(spec),
    )


def _goal(spec: SweepSpec) -> Goal.ValueType:
    plan = Plan(spec)
    return goal_of(fill(plan.job(first_settings(plan)[0], 0)), spec.objective.metric)


def _curves(
    client: "Client", answer: AnswerSweepResponse, metric: str
) -> dict[str, Sequence[Curve]]:
    """Return the evaluations of the jobs that are compared, or of those of the best trial."""
    if answer.HasField("comparison"):
        named = [
            (" ".join(group.labels), row.job)
            for group in answer.comparison.groups
            for row in group.rows
            if row.state == Job.SUCCEEDED
        ]
    else:
        named = [(trial.label, job) for trial in answer.chosen for job in trial.jobs]
    if not 0 < len(named) <= _MOST_CURVES:
        return {}

    def curve(job: str) -> Curve:
        with closing(client.job(job).watch()) as events:
            return _curve(events, metric)

    with ThreadPoolExecutor(NUM_READERS) as readers:
        found = list(readers.map(curve, [job for _, job in named]))
    curves: dict[str, list[Curve]] = {}
    for (label, _), each in zip(named, found, strict=True):
        if each.values:
            curves.setdefault(label, []).append(each)
    return dict(curves)


def _curve(events: Iterator[Event], metric: str) -> Curve:
    points: dict[int, tuple[float, float]] = {}
    begin = None
    for event in events:
        time = event.time.ToMicroseconds() / 1e6
        if event.HasField("state") and event.state.state == Job.RUNNING:
            begin = begin or time
        if metric in event.metrics.values:
            # An attempt that goes on from a checkpoint evaluates some steps again.
            passed = time - (begin or time)
            points[event.metrics.step] = (passed, event.metrics.values[metric])
    steps = sorted(points)
    return Curve(steps, [points[step][0] for step in steps], [points[step][1] for step in steps])
