"""Reports of an attempt on their way to the server.

One line that the server refuses must cost neither the lease nor the lines beside it. So a report
that is refused is halved, each half is sent for itself, and so on until the line alone is left:
that one is left out, with a word in the job's log and the worker's.
"""

import logging
from collections import deque
from collections.abc import Callable, Sequence
from itertools import chain

from talweg.v1.jobs_pb2 import Event, MetricSummary, Progress
from talweg.v1.workers_pb2 import Kept, Lease, ReportProgressRequest
from talweg.worker.execution.reporter import ReportDelta

_Item = Event | MetricSummary | Progress | Kept

log = logging.getLogger(__name__)


class Outbox:
    """What the server has still to be told, in order. For one thread at a time."""

    def __init__(
        self, lease: Lease, *, taken: Callable[[Kept], None], left_out: Callable[[str], None]
    ) -> None:
        """Begin empty.

        Args:
            lease: Of the attempt.
            taken: Told of checkpoints that the record holds now.
            left_out: Told, in words for people, what the server will not hear of, and why.
        """
        self._lease = lease
        self._taken, self._left_out = taken, left_out
        self._sequence = 0
        self._waiting: deque[ReportProgressRequest] = deque()

    def __bool__(self) -> bool:
        """Return whether something waits."""
        return bool(self._waiting)

    def add(self, news: ReportDelta, kept: Kept | None) -> None:
        """Take what happened; nothing is fine.

        Args:
            news: The reporter's.
            kept: The checkpoints that are kept now, where that has changed.
        """
        if news.events or news.summaries or news.progress or kept:
            report = ReportProgressRequest(
                lease=self._lease,
                events=news.events,
                summaries=news.summaries,
                progress=news.progress,
                kept=kept,
            )
            self._waiting.append(report)

    def first(self) -> ReportProgressRequest:
        """Return the next report to send: with no news, one that only renews the lease.

        Until it was taken or refused it is the same, under the same number: the server may have
        taken it, and its answer was lost.
        """
        if not self._waiting:
            return ReportProgressRequest(lease=self._lease)
        if not self._waiting[0].sequence:
            self._sequence += 1
            self._waiting[0].sequence = self._sequence
        return self._waiting[0]

    def was_taken(self) -> None:
        """Drop the first report, which the server has taken; without one, change nothing."""
        if self._waiting:
            report = self._waiting.popleft()
            if report.HasField("kept"):
                self._taken(report.kept)

    def was_refused(self, why: str) -> None:
        """Drop the first report, which the server will never take as it is.

        Args:
            why: The server's words.
        """
        items = _items(self._waiting.popleft())
        middle = len(items) // 2
        if middle:
            # Numbered when they are sent: the first half may itself become several.
            self._waiting.appendleft(self._report_of(items[middle:]))
            self._waiting.appendleft(self._report_of(items[:middle]))
            return
        for item in items:
            text = f"The server refuses {_name(item)}, which is dropped: {why}"
            log.error("%s: %s", self._lease.job, text)
            # A line about a line that was refused might be refused as well, and so on.
            if not (isinstance(item, Event) and item.HasField("log")):
                self._left_out(text)

    def _report_of(self, items: Sequence[_Item]) -> ReportProgressRequest:
        report = ReportProgressRequest(lease=self._lease)
        for item in items:
            match item:
                case Event():
                    report.events.append(item)
                case MetricSummary():
                    report.summaries.append(item)
                case Progress():
                    report.progress.CopyFrom(item)
                case Kept():
                    report.kept.CopyFrom(item)
        return report


def _items(report: ReportProgressRequest) -> list[_Item]:
    items: list[_Item] = list(chain(report.events, report.summaries))
    if report.HasField("progress"):
        items.append(report.progress)
    if report.HasField("kept"):
        items.append(report.kept)
    return items


def _name(item: _Item) -> str:
    match item:
        case Event():
            return f"an event of the kind {item.WhichOneof('kind')}"
        case MetricSummary():
            return f"the summary of the metric {item.name!r}"
        case Progress():
            return "the progress of the job"
        case Kept():
            return "the list of its checkpoints"
