"""What is kept of one job's checkpoints, in agreement with the record.

A checkpoint is written first, then the record is told under the attempt's lease, and only once
the record has taken that is an older one removed. So what the record names is always there, and an
attempt whose lease is gone changes nothing: its files bear its number, and nobody names them.

The record is not trusted for names: others can write to it. One that is not of a checkpoint of
this job, or of the job that it continues, is said and passed over, and no file is removed by it.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from talweg.spec import CheckpointName, checkpoint_folder, from_dict, to_dict
from talweg.v1.jobs_pb2 import Checkpoint, LogLine
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.workers_pb2 import Assignment, Kept
from talweg.worker.errors import StoreAwayError, UserSpecError
from talweg.worker.storage.blobs import Blobs, UnsafePathError
from talweg.worker.training import Snapshot, continued
from talweg.worker.training.state import checkpoint_files
from talweg.worker.training.state.checkpoint_files import DamagedError

# Should the last be damaged, the one before is there.
_NUM_LAST = 2
MOST_FOR_GOOD = 900
"""No more are kept for good: the record holds a thousand of a job."""
_TRIES = 4
_FIRST_PAUSE = 0.5

log = logging.getLogger(__name__)


class ProgressLog(Protocol):
    """Where the attempt tells what happens, and what of that goes with a checkpoint."""

    def log(self, level: LogLine.Level.ValueType, text: str) -> None:
        """Take a line for people."""

    def summary_state(self) -> Mapping[str, Any]:
        """Put all points on disk that were told of, and give what sums them up."""

    def go_on(self, told: Mapping[str, Any]) -> None:
        """Go on from what `summary_state` gave."""


class Stopwatch(Protocol):
    """How long the job has trained."""

    @property
    def seconds(self) -> float:
        """Seconds, in all attempts together."""

    def go_on_after(self, seconds: float) -> None:
        """Earlier attempts have trained for so long."""


class CheckpointKeeper:
    """Keeps one attempt's checkpoints. A `Store` for the training, which calls it by one thread.

    The lease's thread asks what the record should hold.
    """

    def __init__(
        self,
        blobs: Callable[[], Blobs],
        assignment: Assignment,
        teller: ProgressLog,
        stopwatch: Stopwatch,
        *,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        """Touch no file yet.

        Args:
            blobs: Opens the store.
            assignment: The job, its lease, and what earlier attempts have kept.
            teller: The attempt's.
            stopwatch: The attempt's.
            pause: Waits for so many seconds between tries.
        """
        self._open = blobs
        self._spec: JobSpec = assignment.spec
        self._attempt = assignment.lease.attempt
        self._job = assignment.lease.job
        self._folder = checkpoint_folder(self._job)
        self._teller, self._stopwatch, self._pause = teller, stopwatch, pause
        self._kept = [each for each in assignment.checkpoints if self._may_read(each.name)]
        self._unknown = [
            each.name for each in assignment.checkpoints if not self._may_read(each.name)
        ]
        self._count = 0
        self._is_full = False
        # Guards what follows, which the lease's thread sees too.
        self._lock = threading.Lock()
        self._news: Kept | None = None
        self._named = {each.name for each in self._kept}
        # Other jobs' files are theirs.
        self._written = set(filter(self._is_own, self._named))

    # The training's.

    def load(self) -> Snapshot | None:
        """Return the newest snapshot that is whole, and pass damaged ones over.

        Raises:
            StoreAwayError: The store does not answer.
            UserSpecError: The job continues another whose checkpoint is damaged or gone.
        """
        if self._unknown:
            self._teller.log(
                LogLine.WARNING,
                f"The record names something that is not a checkpoint of {self._job}, such as "
                f"{self._unknown[0][:200]!a} ({len(self._unknown)} in all): it is ignored.",
            )
        if not self._kept and not self._unknown:
            return None
        blobs = self._blobs()
        self._remove_strays(blobs)
        for checkpoint in sorted(self._kept, key=lambda each: each.step, reverse=True):
            try:
                found = self._read(blobs, checkpoint.name)
            except DamagedError as exc:
                self._teller.log(
                    LogLine.WARNING,
                    f"The checkpoint of step {checkpoint.step} is skipped: {exc}.",
                )
                continue
            if not self._is_own(checkpoint.name):
                return self._begin_from(checkpoint, found)
            self._count = found.facts["count"]
            self._teller.go_on(found.facts["told"])
            self._stopwatch.go_on_after(found.facts["seconds"])
            return found.snapshot
        if self._spec.HasField("continued_from"):
            job, step = self._spec.continued_from.job, self._spec.continued_from.step
            raise UserSpecError(
                f"continued_from: the checkpoint of step {step} of {job} is no longer intact: "
                "continue from another checkpoint, or from another job"
            )
        self._teller.log(LogLine.WARNING, "No checkpoint is intact: the job starts again.")
        return None

    def _begin_from(self, checkpoint: Checkpoint, found: checkpoint_files.Written) -> Snapshot:
        """Begin in another job's state: metrics and time are this job's own."""
        job = self._spec.continued_from.job
        self._teller.log(LogLine.INFO, f"Continues {job} from step {checkpoint.step}.")
        return continued(found.snapshot, from_dict(found.facts["spec"]), self._spec)

    def _is_own(self, name: str) -> bool:
        return _job_of(name) == self._job

    def _may_read(self, name: str) -> bool:
        job = _job_of(name)
        return job is not None and job in (self._job, self._spec.continued_from.job)

    def save(
        self, snapshot: Snapshot, *, step: int, epoch: int, best: tuple[int, Snapshot] | None
    ) -> bool:
        """Keep a snapshot; see `Store`."""
        # Points that no later attempt gives again must be on disk before.
        told = self._teller.summary_state()
        kept = list(self._kept)
        try:
            blobs = self._blobs()
            self._remove_unnamed(blobs)
            if best is not None:
                best_step, best_snapshot = best
                kept = [each for each in kept if not each.best]
                kept.append(
                    self._write(blobs, best_snapshot, told, step=best_step, epoch=epoch, best=True)
                )
                kept[-1].best = True
            self._count += 1
            new = self._write(blobs, snapshot, told, step=step, epoch=epoch)
        except (OSError, StoreAwayError) as exc:
            self._teller.log(
                LogLine.WARNING, f"The checkpoint of step {step} could not be saved: {exc}."
            )
            return False
        new.for_good = self._is_for_good(step)
        self._tell(_last_ones([*kept, new], _NUM_LAST))
        return True

    def _is_for_good(self, step: int) -> bool:
        every = self._spec.training.checkpoints.keep_every
        if not every or (self._count - 1) % every:
            return False
        if sum(each.for_good for each in self._kept) < MOST_FOR_GOOD:
            return True
        if not self._is_full:
            self._is_full = True
            self._teller.log(
                LogLine.WARNING,
                f"{MOST_FOR_GOOD} checkpoints are kept permanently, and no more from step {step} "
                "on: increase training.checkpoints.keep_every.",
            )
        return False

    # The lease's.

    def take_news(self) -> Kept | None:
        """Return what the record should hold, where that has changed since it was asked for."""
        with self._lock:
            news, self._news = self._news, None
            return news

    def taken(self, kept: Kept) -> None:
        """Remember what the record holds now."""
        with self._lock:
            self._named = {each.name for each in kept.checkpoints}

    # The attempt's end.

    def job_ends(self) -> None:
        """Keep one of the last checkpoints, or none, since the job ends with this attempt."""
        if not self._kept and self._news is None:
            return
        own = [each for each in self._kept if self._is_own(each.name)]
        kept = _last_ones(own, 1) if self._spec.outputs.checkpoint else []
        if kept != self._kept:
            self._tell(kept)

    def clean_up(self) -> None:
        """Remove what the record no longer names."""
        with self._lock:
            nothing = self._written <= self._named
        if not nothing:
            self._remove_unnamed(self._blobs())

    def _blobs(self) -> Blobs:
        try:
            return self._open()
        except (OSError, ImportError, ValueError) as exc:
            raise StoreAwayError(f"the blob store cannot be used: {exc}") from exc

    def _read(self, blobs: Blobs, name: str) -> checkpoint_files.Written:
        pause = _FIRST_PAUSE
        for _ in range(_TRIES - 1):
            try:
                return checkpoint_files.read(blobs, name)
            except OSError as exc:
                log.warning("%s: %s", name, exc)
                self._pause(pause)
                pause *= 2
        try:
            return checkpoint_files.read(blobs, name)
        except OSError as exc:
            raise StoreAwayError(f"the blob store is unreachable: {exc}") from exc

    def _write(
        self,
        blobs: Blobs,
        snapshot: Snapshot,
        told: Mapping[str, Any],
        *,
        step: int,
        epoch: int,
        best: bool = False,
    ) -> Checkpoint:
        checkpoint = Checkpoint(
            name=str(CheckpointName(self._job, step, self._attempt, best=best)),
            step=step,
            epoch=epoch,
            attempt=self._attempt,
        )
        checkpoint.create_time.GetCurrentTime()
        facts = {
            "step": step,
            "epoch": epoch,
            "count": self._count,
            "seconds": self._stopwatch.seconds,
            "spec": to_dict(self._spec),
            "told": told,
        }
        with self._lock:
            self._written.add(checkpoint.name)
        checkpoint.bytes = checkpoint_files.write(blobs, checkpoint.name, snapshot, facts)
        return checkpoint

    def _tell(self, kept: Sequence[Checkpoint]) -> None:
        self._kept = list(kept)
        with self._lock:
            self._news = Kept(checkpoints=kept)

    def _remove_unnamed(self, blobs: Blobs) -> None:
        with self._lock:
            wanted = self._named | {each.name for each in self._kept}
            gone = self._written - wanted
            self._written -= gone
        for name in gone:
            self._remove(blobs, name)

    def _remove_strays(self, blobs: Blobs) -> None:
        """Remove what earlier attempts wrote and could tell nobody of."""
        try:
            names = {name.partition(".")[0] for name in blobs.names(self._folder)}
        except OSError as exc:
            log.warning("%s: %s", self._folder, exc)
            return
        for name in names:
            if f"{self._folder}/{name}" not in self._named:
                self._remove(blobs, f"{self._folder}/{name}")

    def _remove(self, blobs: Blobs, name: str) -> None:
        """Remove a checkpoint's files, of this job alone."""
        if not self._is_own(name):
            log.warning(
                "%s: %a is not a checkpoint of this job, and is not deleted", self._job, name[:200]
            )
            return
        try:
            checkpoint_files.remove(blobs, name)
        except UnsafePathError as exc:
            log.warning("%s: %s", self._job, exc)


def _job_of(name: str) -> str | None:
    """Return the job whose checkpoint a name is of; None where it is no checkpoint's."""
    try:
        return CheckpointName.parse(name).job
    except ValueError:
        return None


def _last_ones(checkpoints: Sequence[Checkpoint], count: int) -> list[Checkpoint]:
    """Return what is kept for good, and so many others, the last."""
    ordinary = [each for each in checkpoints if not each.best]
    last = {each.name for each in ordinary[-count:]}
    kept = [each for each in checkpoints if each.best or each.for_good or each.name in last]
    return sorted(kept, key=lambda each: each.step)
