"""Which of a job's checkpoints the record names, or may name soon: none of those is removed.

Nor is one that is newer than all that the record names. Where a clock jumps, another attempt may
own the job already and go on from it, while this one still takes its lease for good.
"""

import threading
from collections import deque
from collections.abc import Iterable, Sequence

from talweg.v1.jobs_pb2 import Checkpoint
from talweg.v1.workers_pb2 import Kept


class CheckpointLedger:
    """Follows the reports of one attempt. For the training's thread and the lease's."""

    def __init__(self, recorded: Iterable[Checkpoint]) -> None:
        """Begin with what the record names.

        Args:
            recorded: The checkpoints that it names.
        """
        self._lock = threading.Lock()
        self._named = names_of(recorded)
        self._news: Kept | None = None
        # Given to be reported, and not known to be taken: oldest first.
        self._promised: deque[tuple[Kept, frozenset[str]]] = deque()
        self._written: set[str] = set()
        # What was written before the record's names were: another attempt needs none of it.
        self._older: set[str] = set()

    @property
    def has_news(self) -> bool:
        """Whether something is to be reported."""
        with self._lock:
            return self._news is not None

    @property
    def has_unnamed(self) -> bool:
        """Whether there are files that the record does not name."""
        with self._lock:
            return not self._written <= self._named

    def names(self, name: str) -> bool:
        """Return whether the record names a checkpoint."""
        with self._lock:
            return name in self._named

    def add_written(self, names: Iterable[str], *, is_older: bool = False) -> None:
        """Take names of checkpoints with files of this job, which are removed once unnamed.

        Args:
            names: The names.
            is_older: Whether they need not wait for the record to name newer ones.
        """
        with self._lock:
            added = set(names)
            self._written |= added
            if is_older:
                self._older |= added

    def announce(self, retained: Sequence[Checkpoint]) -> None:
        """Have it reported that these checkpoints are retained, and no others."""
        with self._lock:
            self._news = Kept(checkpoints=retained)

    def take_news(self) -> Kept | None:
        """Return what the record should hold, where that has changed since it was asked for.

        What it names stays, until `taken` is told of this or of what was returned later: a report
        whose answer is lost may have been taken.
        """
        with self._lock:
            news, self._news = self._news, None
            if news is not None:
                self._promised.append((news, frozenset(self._written)))
            return news

    def taken(self, report: Kept) -> None:
        """Remember what the record holds now."""
        with self._lock:
            self._named = names_of(report.checkpoints)
            # Reports are answered in order.
            while self._promised:
                promised, written = self._promised.popleft()
                self._older |= written
                if promised == report:
                    break

    def take_unnamed(self, retained: Iterable[Checkpoint]) -> set[str]:
        """Return the names of those to remove now, and forget them.

        Args:
            retained: The checkpoints that the attempt wants to retain.
        """
        with self._lock:
            wanted = self._named | names_of(retained)
            for report, _ in self._promised:
                wanted |= names_of(report.checkpoints)
            unnamed = (self._written & self._older) - wanted
            self._written -= unnamed
            self._older &= self._written
            return unnamed


def names_of(checkpoints: Iterable[Checkpoint]) -> set[str]:
    """Return the names of checkpoints."""
    return {each.name for each in checkpoints}
