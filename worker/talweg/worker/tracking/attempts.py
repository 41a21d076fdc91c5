"""One attempt's spool as the delivery reads it, a little at a time."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from talweg.worker.tracking.outputs.labels import is_result
from talweg.worker.tracking.spool import (
    LINES,
    LOST,
    Point,
    attempt_folder,
    attempts,
    is_being_written,
    read_lines,
)

# Points held in memory before they are sent.
_BATCH = 2000


class SpooledAttempt:
    """What is known of an attempt, and what of it has still to be sent."""

    def __init__(self, job_folder: Path, number: int) -> None:
        """Read nothing yet.

        Args:
            job_folder: The job's folder in the spool.
            number: The attempt's, from 1.
        """
        self.number = number
        self.folder = attempt_folder(job_folder.parent, job_id=job_folder.name, attempt=number)
        self.lines = self.folder / LINES
        self.begin: Mapping[str, Any] | None = None
        """The line that says what was begun."""
        self.data: Mapping[str, Any] | None = None
        """The line that describes the data."""
        self.computed: dict[str, str] = {}
        """Parameters that were computed from the data, by name."""
        self.end: Mapping[str, Any] | None = None
        """The last line, once there is one."""
        self.warnings: list[str] = []
        """In words."""
        self.results: dict[str, tuple[int, int, float]] = {}
        """The last values of the metrics that the job is judged by, with step and time."""
        self.files: set[str] = set()
        """Files that are complete."""
        self._taken_to = 0

    @property
    def final_state(self) -> str:
        """The state that this attempt gave its job as the last one; empty where it gave none."""
        state: str = self.end["state"] if self.end is not None else ""
        return "" if state in (LOST, "QUEUED", "PAUSED") else state

    @property
    def ended_in_order(self) -> bool:
        """Whether its process lived to its end, and had its lease then."""
        return self.end is not None and self.end["state"] != LOST

    @property
    def tags(self) -> dict[str, str]:
        """What the run's tags say of the attempt as far as it was read."""
        state = self.end["state"] if self.end is not None else "RUNNING"
        tags = {
            "talweg.attempt": str(self.number),
            "talweg.state": "RUNNING" if state == LOST else state,
        }
        environment = self.begin.get("environment", {}) if self.begin is not None else {}
        tags |= {f"talweg.{name}": text for name, text in environment.items()}
        if self.warnings:
            tags["talweg.warnings"] = "\n".join(dict.fromkeys(self.warnings))
        return tags

    def is_idle(self, *, sent: int) -> bool:
        """Return whether all that was written has been read and sent."""
        try:
            return sent >= self._taken_to == self.lines.stat().st_size
        except FileNotFoundError:
            return True

    def is_all_sent(self, *, sent: int) -> bool:
        """Return whether every whole line of the file was read and sent; a torn tail is none."""
        if self.is_idle(sent=sent):
            return True
        return sent >= self._taken_to and not any(read_lines(self.lines, start=self._taken_to))

    def is_over(self) -> bool:
        """Return whether nothing more will come: its last line was read, or its writer is gone."""
        return self.end is not None or not is_being_written(self.lines)

    def is_being_written(self) -> bool:
        """Return whether its writer lives."""
        return is_being_written(self.lines)

    def read(self) -> None:
        """Read all that was written, and send nothing."""
        for line in read_lines(self.lines, start=self._taken_to):
            self._take(line.kind, line.content)
            self._taken_to = line.end

    def changed_ms(self) -> float:
        """Return when something was written last, in milliseconds since the epoch."""
        try:
            return self.lines.stat().st_mtime * 1000
        except FileNotFoundError:
            return self.folder.stat().st_mtime * 1000

    def unsent(self, start: int) -> Iterator[tuple[list[Point], int]]:
        """Return the points that were not sent, in batches, each with the offset behind it.

        A batch may be empty: then lines of other kinds stand before the offset. The first call of
        a process reads from the beginning, so that what an earlier process has sent is known.

        Args:
            start: How much has been sent, in bytes.
        """
        batch: list[Point] = []
        offset = start
        for line in read_lines(self.lines, start=start if self._taken_to else 0):
            if line.end > self._taken_to:
                self._take(line.kind, line.content)
                self._taken_to = line.end
            if line.end <= start:
                continue
            offset = line.end
            if line.kind == "metrics":
                batch += [(step, time, values) for step, time, values in line.content["points"]]
                if len(batch) >= _BATCH:
                    yield batch, offset
                    batch, start = [], offset
        if offset > start:
            yield batch, offset

    def points(self) -> Iterator[Point]:
        """Return all points of the job up to this attempt that were made on this machine.

        An attempt that goes on from a checkpoint makes some points again: each step is given once.
        """
        job = self.folder.parent
        before = [SpooledAttempt(job, number) for number in attempts(job) if number < self.number]
        ends: list[float] = [math.inf]
        for attempt in reversed([*before, self]):
            first = next(attempt._own_points(), None)
            ends.append(ends[-1] if first is None else min(ends[-1], first[0]))
        for attempt, end in zip([*before, self], reversed(ends[:-1]), strict=True):
            for point in attempt._own_points():
                if point[0] < end:
                    yield point

    def _own_points(self) -> Iterator[Point]:
        for line in read_lines(self.lines):
            if line.kind == "metrics":
                yield from line.content["points"]

    def _take(self, kind: str, content: Mapping[str, Any]) -> None:
        match kind:
            case "begin":
                self.begin = content
            case "data":
                self.data = content
            case "metrics":
                for step, time, values in content["points"]:
                    self.results |= {
                        name: (step, time, value)
                        for name, value in values.items()
                        if is_result(name)
                    }
            case "computed":
                self.computed.update(content["params"])
            case "warning":
                self.warnings.append(f"{content['warning']}: {content['message']}")
            case "file":
                self.files.add(content["name"])
            case "end":
                self.end = content
