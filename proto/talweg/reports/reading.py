"""What a report shows, read from the service."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Protocol

from talweg.reports.contents import Curve, ReportContents
from talweg.spec import fill, goal_of, to_yaml
from talweg.spec.sweeps import Plan, first_settings
from talweg.v1.jobs_pb2 import Event, Job
from talweg.v1.options_pb2 import Goal
from talweg.v1.sweeps_pb2 import (
    AnswerSweepResponse,
    ListTrialsRequest,
    ListTrialsResponse,
    Sweep,
    SweepSpec,
    Trial,
)

_PAGE = 1000
# Beyond it a figure shows nothing that fewer trials do not.
MOST_TRIALS = 10_000
_MOST_CURVES = 200
_NUM_READERS = 8


class Service(Protocol):
    """The calls by which a sweep is read; each program has its own way to the server."""

    def sweep(self, name: str) -> Sweep:
        """Return the sweep as it is now."""

    def answer(self, name: str) -> AnswerSweepResponse:
        """Return what it has shown."""

    def trials(self, request: ListTrialsRequest) -> ListTrialsResponse:
        """Return a page of its trials."""

    def events(self, job: str) -> AbstractContextManager[Iterator[Event]]:
        """Return the events of a job that has ended, to be closed; none of a deleted one.

        It is called from several threads.
        """


def read(service: Service, name: str) -> ReportContents:
    """Read what a report of a sweep shows.

    Args:
        service: Reads the record.
        name: `sweeps/{id}` of one that has ended, or that goes on.

    Raises:
        Exception: What the calls of the service raise.
    """
    sweep = service.sweep(name)
    answer = service.answer(name)
    trials: list[Trial] = []
    request = ListTrialsRequest(sweep=name, best_first=True, page_size=_PAGE)
    while len(trials) < MOST_TRIALS:
        page = service.trials(request)
        trials += [trial for trial in page.trials if not trial.is_final]
        request.page_token = page.next_page_token
        if not request.page_token:
            break
    spec = sweep.spec
    return ReportContents(
        sweep=sweep,
        answer=answer,
        trials=trials,
        goal=_goal(spec),
        curves=_curves(service, answer, spec.objective.metric),
        sweep_file=to_yaml(spec),
    )


def _goal(spec: SweepSpec) -> Goal.ValueType:
    plan = Plan(spec)
    return goal_of(fill(plan.job(first_settings(plan)[0], 0)), spec.objective.metric)


def _curves(
    service: Service, answer: AnswerSweepResponse, metric: str
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
        # Of one that was deleted since, its trial keeps what it had reached.
        with service.events(job) as events:
            return _curve(events, metric)

    with ThreadPoolExecutor(_NUM_READERS) as readers:
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
