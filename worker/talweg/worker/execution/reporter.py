"""What a running job tells: kept in memory, written to the spool, and summed up for the server."""

import math
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from google.protobuf.json_format import MessageToDict, ParseDict

from talweg.v1.jobs_pb2 import Event, GuardDecision, LogLine, MetricSummary, Progress, Warning
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.weights_pb2 import TakenWeights
from talweg.worker.clock import SYSTEM, Clock
from talweg.worker.data import DataBundle
from talweg.worker.data.bundle import facts_of
from talweg.worker.execution.summaries import MetricSummaries
from talweg.worker.execution.thinning import Thinning, metric_event
from talweg.worker.tracking.spool import Point, SpoolWriter, table_file
from talweg.worker.training.interface import Table

_MAX_LOG_LENGTH = 10_000
_MAX_LOG_LINES = 10_000


@dataclass(frozen=True)
class ReportDelta:
    """What has happened since it was asked for last."""

    events: list[Event] = field(default_factory=list)
    """In order; metrics of training steps thinned."""
    summaries: list[MetricSummary] = field(default_factory=list)
    """The metrics that changed."""
    progress: Progress | None = None
    """How far the attempt has come; None before its first step."""


class JobReporter:
    """Takes what the training loop tells, at the cost of an append.

    The lease's thread sorts it once a second, and whoever ends the attempt a last time.
    """

    def __init__(self, spec: JobSpec, spool: SpoolWriter, *, clock: Clock = SYSTEM) -> None:
        """Begin with nothing reported.

        Args:
            spec: Filled.
            spool: Where all points go.
            clock: This process's.
        """
        self.bundle: DataBundle | None = None
        """The data, once it is known."""
        self._spool = spool
        self._clock = clock
        self._incoming: deque[tuple[int, int, Mapping[str, float]] | Event] = deque()
        self._sorted: list[Event] = []
        self._unanswered: list[Event] = []
        self._progress: tuple[int, int, int, int] | None = None
        self._summaries = MetricSummaries(spec)
        self._thinning = Thinning()
        self._sorting = threading.Lock()
        self._paced = (0, clock.monotonic(), 0.0)
        # The log as a file: the last lines, with their times.
        self._lines: deque[tuple[int, str, str]] = deque(maxlen=_MAX_LOG_LINES)

    # Called by the training loop.

    def data(self, bundle: DataBundle) -> None:
        """Take the data, once, before the first step."""
        self.bundle = bundle
        self.data_facts(facts_of(bundle))

    def data_facts(self, facts: Mapping[str, Any]) -> None:
        """Take what is to be told of the data, once, before the first step."""
        self._spool.data(**facts)

    def computed(self, parameters: Mapping[str, str]) -> None:
        """Take what the data alone could tell, by name, such as class weights."""
        self._spool.computed(parameters)

    def weights(self, taken: TakenWeights) -> None:
        """Take what the model has taken of its starting weights."""
        self._incoming.append(Event(taken_weights=taken))

    def warning(self, warning: Warning) -> None:
        """Take something that is allowed and is probably not meant."""
        self._spool.warning(
            kind=Warning.Kind.Name(warning.kind), field=warning.field, message=warning.message
        )
        self._incoming.append(Event(warning=warning))
        self._note("WARNING", f"{warning.field}: {warning.message}".removeprefix(": "))

    def guard(self, decision: GuardDecision) -> None:
        """Take what was done about a refused step after which training goes on."""
        self._incoming.append(Event(guard=decision))
        action = GuardDecision.Action.Name(decision.action).lower().replace("_", " ")
        seen = decision.seen
        self._note("GUARD", f"{action} at step {seen.step}: {seen.what} was {seen.value}")

    def log(self, level: LogLine.Level.ValueType, text: str) -> None:
        """Take a line for people."""
        self._incoming.append(Event(log=LogLine(level=level, text=text[:_MAX_LOG_LENGTH])))
        self._note(LogLine.Level.Name(level), text[:_MAX_LOG_LENGTH])

    def progress(self, step: int, total_steps: int, epoch: int, total_epochs: int) -> None:
        """Take how far the attempt has come."""
        self._progress = (step, total_steps, epoch, total_epochs)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Take values by name."""
        self._incoming.append((step, self._clock.now_ms(), dict(values)))

    def table(self, name: str, table: Table) -> None:
        """Take what a diagnosis found, and leave it in the spool at once.

        Raises:
            OSError: The spool cannot be written.
        """
        content = {"columns": dict(table.columns), "facts": dict(table.facts)}
        self._spool.document(table_file(name), content)

    # Called by the lease's thread and at the end.

    def log_text(self) -> str:
        """Return the lines for people so far, and what the guard did, with their times in UTC."""
        lines = []
        # A copy, since the lease's thread may tell something meanwhile.
        for at_ms, level, text in self._lines.copy():
            time_of_day = datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(
                timespec="milliseconds"
            )
            lines.append(f"{time_of_day} {level}: {text}\n")
        return "".join(lines)

    def _note(self, level: str, text: str) -> None:
        self._lines.append((self._clock.now_ms(), level, text))

    @property
    def has_begun(self) -> bool:
        """Whether the first step is done."""
        return self._progress is not None

    def take_news(self, *, last: bool = False) -> ReportDelta:
        """Sort what was told since the last call: all points to the spool, some to the server.

        To be called once the server has answered to what the last call gave.

        Args:
            last: Nothing more will be told.

        Raises:
            OSError: The spool cannot be written.
        """
        with self._sorting:
            self._sort()
            events, self._sorted = self._sorted, []
            events += [metric_event(*point) for point in self._thinning.best()]
            if last:
                events += [metric_event(*point) for point in self._thinning.rest()]
            self._unanswered = events
            return ReportDelta(events, self._summaries.take_changed(), self._current_progress())

    def summary_state(self) -> Mapping[str, Any]:
        """Put all points into the spool that were told of, and give what sums them up.

        Raises:
            OSError: The spool cannot be written.
        """
        with self._sorting:
            self._sort()
            return self._summaries.values()

    def go_on(self, summaries: Mapping[str, Any]) -> None:
        """Go on from what an earlier attempt's `summary_state` gave."""
        with self._sorting:
            self._summaries.go_on(summaries)

    def untold(self) -> Sequence[Mapping[str, Any]]:
        """Return the events that the server has not answered to yet, as JSON values."""
        with self._sorting:
            return [MessageToDict(event) for event in (*self._unanswered, *self._sorted)]

    def tell_again(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Tell the server alone what an earlier attempt's `untold` gave: the spool has it."""
        with self._sorting:
            self._sorted[:0] = [ParseDict(dict(event), Event()) for event in events]

    def _sort(self) -> None:
        points: list[Point] = []
        while self._incoming:
            item = self._incoming.popleft()
            if isinstance(item, Event):
                self._sorted.append(item)
                continue
            step, at_ms, values = item
            finite = {name: v for name, v in values.items() if math.isfinite(v)}
            if not finite:
                continue
            points.append((step, at_ms, finite))
            best = self._summaries.add(step, finite)
            if self._thinning.takes(step, at_ms, finite, best=best):
                self._sorted += [metric_event(*point) for point in self._thinning.best()]
                self._sorted.append(metric_event(step, finite))
        if points:
            self._spool.points(points)
        self._spool.flush()

    def _current_progress(self) -> Progress | None:
        if self._progress is None:
            return None
        step, total_steps, epoch, total_epochs = self._progress
        before, then, rate = self._paced
        now = self._clock.monotonic()
        if step > before and now > then:
            rate = (step - before) / (now - then)
            self._paced = (step, now, rate)
        return Progress(
            step=step,
            total_steps=total_steps,
            epoch=epoch,
            total_epochs=total_epochs,
            steps_per_second=rate,
        )
