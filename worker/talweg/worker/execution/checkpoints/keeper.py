"""What is kept of one job's checkpoints, in agreement with the record.

A checkpoint is written first, then the record is told under the attempt's lease, and only once
the record has taken that is an older one removed. What a report names that was not answered yet
stays too: the record may hold it already. So what the record names is always there, and an attempt
whose lease is gone removes nothing.

Such an attempt may have written checkpoints that the record never heard of, and the next attempt
goes on from the newest of them that is whole. That is as exact as the record's own:

- A state is determined by the spec and the step alone, whoever computed it. The document of a
  checkpoint holds the spec that it was made by, and one of another spec is passed over. What a
  lease decides is who may change the record, and not what the job computes.
- Its files are written aside and renamed, bear the number of their attempt, and are verified by
  their digests. Nobody rewrites them, and where they vanish the one before is taken.
- Every point up to its step was in its attempt's spool before it was written, so the delivery has
  it; MLflow gets no step twice, since what is behind a metric's last step there is left out.
- What the record was not told of up to its step stands in it, and is told again. The record gives
  no step of a metric twice either.

The record is not trusted for names: others can write to it. One that is not of a checkpoint of
this job, or of the job that it continues, is said and passed over, and no file is removed by it.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from talweg.blobs import Blobs, UnsafePathError
from talweg.spec import CheckpointName, checkpoint_folder, from_dict, to_dict
from talweg.v1.jobs_pb2 import Checkpoint, LogLine
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.workers_pb2 import Assignment, Kept
from talweg.worker.errors import StoreAwayError, UserSpecError
from talweg.worker.execution.checkpoints.interface import ProgressLog, Stopwatch
from talweg.worker.execution.checkpoints.ledger import CheckpointLedger, names_of
from talweg.worker.execution.checkpoints.reader import CheckpointReader
from talweg.worker.execution.checkpoints.search import CheckpointSearch
from talweg.worker.training import Snapshot, continued
from talweg.worker.training.state import checkpoint_files
from talweg.worker.training.state.checkpoint_files import Written

# Should the last be damaged, the one before is there.
_NUM_LAST = 2
MOST_FOR_GOOD = 900
"""No more are kept for good: the record holds a thousand of a job."""

log = logging.getLogger(__name__)


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
        holds_lease: Callable[[], bool] = lambda: True,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        """Touch no file yet.

        Args:
            blobs: Opens the store.
            assignment: The job, its lease, and what earlier attempts have kept.
            teller: The attempt's.
            stopwatch: The attempt's.
            holds_lease: Whether no other attempt can have begun.
            pause: Waits for so many seconds between tries.
        """
        self._open = blobs
        self._spec: JobSpec = assignment.spec
        self._lease = assignment.lease
        self._attempt, self._job = self._lease.attempt, self._lease.job
        self._folder = checkpoint_folder(self._job)
        self._teller, self._stopwatch, self._pause = teller, stopwatch, pause
        self._holds_lease = holds_lease
        self._retained = [each for each in assignment.checkpoints if self._may_read(each.name)]
        self._unknown = [
            each.name for each in assignment.checkpoints if not self._may_read(each.name)
        ]
        self._count = 0
        self._is_full = False
        self._ledger = CheckpointLedger(self._retained)
        # Other jobs' files are theirs.
        self._ledger.add_written(filter(self._is_own, names_of(self._retained)))

    # The training's.

    def load(self) -> Snapshot | None:
        """Return the newest snapshot that is whole, and pass damaged ones over.

        Raises:
            StoreAwayError: The store does not answer, or not for any of them.
            UserSpecError: The job continues another whose checkpoint is damaged or gone.
        """
        if self._unknown:
            self._warn(
                f"The record names something that is not a checkpoint of {self._job}, such as "
                f"{self._unknown[0][:200]!a} ({len(self._unknown)} in all): it is ignored."
            )
        if self._attempt <= 1 and not self._retained and not self._unknown:
            return None
        try:
            blobs = self._blobs()
            reader = CheckpointReader(blobs, pause=self._pause)
            search = CheckpointSearch(
                reader, self._lease, self._spec, recorded=self._retained, warn=self._warn
            )
        except StoreAwayError as exc:
            if self._retained:
                raise
            self._warn(f"The record names no checkpoint, and {exc}: the job starts again.")
            return None
        newest = search.newest_whole()
        # One that is damaged is no second, should the last be damaged.
        self._retained = [each for each in self._retained if each.name not in search.damaged]
        snapshot = None
        if newest is not None:
            snapshot = self._go_on(search, *newest)
        else:
            self._begin_anew(search)
        # Removed unless they are named by now.
        self._ledger.add_written(search.unreported, is_older=True)
        self._remove_unnamed(blobs)
        self._remove_unfinished(blobs)
        return snapshot

    def _begin_anew(self, search: CheckpointSearch) -> None:
        """Say so where something was to be gone on from.

        Raises:
            UserSpecError: The job continues another, and so cannot begin anew.
        """
        if self._spec.continued_from.as_whole:
            job = self._spec.continued_from.job
            self._warn(
                f"The checkpoint of {job} is no longer intact: the job is trained from its "
                "beginning, with the same result."
            )
        elif self._spec.HasField("continued_from"):
            job, step = self._spec.continued_from.job, self._spec.continued_from.step
            raise UserSpecError(
                f"continued_from: the checkpoint of step {step} of {job} is no longer intact: "
                "continue from another checkpoint, or from another job"
            )
        elif self._spec.HasField("test_of"):
            job = self._spec.test_of.job
            raise UserSpecError(
                f"test_of: the last checkpoint of {job} is no longer intact: its weights cannot "
                "be tested any more"
            )
        elif self._unknown or not search.is_empty:
            how = "is replayed from the initial state" if self._spec.replay.job else "starts again"
            self._warn(f"No checkpoint is intact: the job {how}.")

    def _go_on(self, search: CheckpointSearch, name: CheckpointName, written: Written) -> Snapshot:
        if name.job in (self._spec.replay.job, self._spec.test_of.job):
            return written.snapshot
        if name.job != self._job:
            return self._begin_from(name.step, written)
        if not self._ledger.names(str(name)):
            self._teller.log(
                LogLine.INFO,
                f"The checkpoint of step {name.step} was saved by attempt {name.attempt}, which "
                "could not report it. It is intact, and the job resumes from it.",
            )
            for unreported, facts in search.unreported_until(name):
                self._adopt(unreported, facts)
            self._tell(_last_ones(self._retained, _NUM_LAST))
            self._teller.tell_again(written.facts.get("untold", ()))
        self._count = written.facts["count"]
        self._teller.go_on(written.facts["told"])
        self._stopwatch.go_on_after(written.facts["seconds"])
        return written.snapshot

    def _adopt(self, name: CheckpointName, facts: Mapping[str, Any]) -> None:
        """Keep what an earlier attempt kept, as it would have."""
        checkpoint = self._checkpoint(name, epoch=facts["epoch"])
        checkpoint.bytes = facts["tensors"]["bytes"]
        self._count = facts["count"]
        if name.best:
            self._retained = [each for each in self._retained if not each.best]
        else:
            checkpoint.for_good = self._is_for_good(name.step)
        self._retained.append(checkpoint)

    def _warn(self, text: str) -> None:
        self._teller.log(LogLine.WARNING, text)

    def _begin_from(self, step: int, written: Written) -> Snapshot:
        """Begin in another job's state.

        Metrics and time are this job's own, unless the other is the first part of it.
        """
        job = self._spec.continued_from.job
        self._teller.log(LogLine.INFO, f"Continues {job} from step {step}.")
        if self._spec.continued_from.as_whole:
            self._teller.go_on(written.facts["told"])
            self._stopwatch.go_on_after(written.facts["seconds"])
        return continued(written.snapshot, from_dict(written.facts["spec"]), self._spec)

    def _is_own(self, name: str) -> bool:
        return _job_of(name) == self._job

    def _may_read(self, name: str) -> bool:
        job = _job_of(name)
        return job is not None and job in (
            self._job,
            self._spec.continued_from.job,
            self._spec.replay.job,
            self._spec.test_of.job,
        )

    def save(
        self, snapshot: Snapshot, *, step: int, epoch: int, best: tuple[int, Snapshot] | None
    ) -> bool:
        """Keep a snapshot; see `Store`."""
        # Points that no later attempt gives again must be on disk before.
        summaries, untold = self._teller.summary_state(), self._teller.untold()
        retained = list(self._retained)
        try:
            blobs = self._blobs()
            if self._holds_lease():
                self._remove_unnamed(blobs)
            if best is not None:
                best_step, best_snapshot = best
                retained = [each for each in retained if not each.best]
                retained.append(
                    self._write(
                        blobs,
                        best_snapshot,
                        summaries,
                        untold,
                        step=best_step,
                        epoch=epoch,
                        best=True,
                    )
                )
            self._count += 1
            new = self._write(blobs, snapshot, summaries, untold, step=step, epoch=epoch)
        except (OSError, StoreAwayError) as exc:
            self._warn_unsaved(step, exc)
            return False
        new.for_good = self._is_for_good(step)
        self._tell(_last_ones([*retained, new], _NUM_LAST))
        return True

    def _warn_unsaved(self, step: int, error: Exception) -> None:
        saved = max((each.step for each in self._retained if not each.best), default=None)
        last = "" if saved is None else f" The last saved one, of step {saved}, is kept."
        log.warning("%s: the checkpoint of step %d could not be saved: %s", self._job, step, error)
        self._warn(
            f"The checkpoint of step {step} could not be saved: {error}. The job goes on, and "
            f"saves its next one if it can.{last}"
        )

    def _is_for_good(self, step: int) -> bool:
        every = self._spec.training.checkpoints.keep_every
        if not every or (self._count - 1) % every:
            return False
        if sum(each.for_good for each in self._retained) < MOST_FOR_GOOD:
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
        """Return what the record should hold, if that has changed; see `CheckpointLedger`."""
        return self._ledger.take_news()

    def taken(self, report: Kept) -> None:
        """Remember what the record holds now."""
        self._ledger.taken(report)

    # The attempt's end.

    def job_ends(self) -> None:
        """Keep one of the last checkpoints, or none, since the job ends with this attempt."""
        if not self._retained and not self._ledger.has_news:
            return
        own = [each for each in self._retained if self._is_own(each.name)]
        retained = _last_ones(own, 1) if self._spec.outputs.checkpoint else []
        if retained != self._retained:
            self._tell(retained)

    def clean_up(self) -> None:
        """Remove what the record no longer names."""
        if self._ledger.has_unnamed:
            self._remove_unnamed(self._blobs())

    def _blobs(self) -> Blobs:
        try:
            return self._open()
        except (OSError, ImportError, ValueError) as exc:
            raise StoreAwayError(f"the blob store cannot be used: {exc}") from exc

    def _write(
        self,
        blobs: Blobs,
        snapshot: Snapshot,
        summaries: Mapping[str, Any],
        untold: Sequence[Mapping[str, Any]],
        *,
        step: int,
        epoch: int,
        best: bool = False,
    ) -> Checkpoint:
        name = CheckpointName(self._job, step, self._attempt, best=best)
        checkpoint = self._checkpoint(name, epoch=epoch)
        facts = {
            "step": step,
            "epoch": epoch,
            "count": self._count,
            "seconds": self._stopwatch.seconds,
            "spec": to_dict(self._spec),
            "told": summaries,
            "untold": untold,
        }
        self._ledger.add_written([checkpoint.name])
        checkpoint.bytes = checkpoint_files.write(blobs, checkpoint.name, snapshot, facts)
        return checkpoint

    @staticmethod
    def _checkpoint(name: CheckpointName, *, epoch: int) -> Checkpoint:
        checkpoint = Checkpoint(
            name=str(name), step=name.step, epoch=epoch, attempt=name.attempt, best=name.best
        )
        checkpoint.create_time.GetCurrentTime()
        return checkpoint

    def _tell(self, retained: Sequence[Checkpoint]) -> None:
        self._retained = list(retained)
        self._ledger.announce(retained)

    def _remove_unnamed(self, blobs: Blobs) -> None:
        for name in self._ledger.take_unnamed(self._retained):
            self._remove(blobs, name)

    def _remove_unfinished(self, blobs: Blobs) -> None:
        """Remove what earlier attempts were killed in the midst of writing."""

        def is_old(file: str) -> bool:
            try:
                name = CheckpointName.parse(f"{self._folder}/{file.partition('.')[0]}")
            except ValueError:
                return False
            return name.attempt < self._attempt

        try:
            blobs.remove_unfinished(self._folder, is_ours=is_old)
        except OSError as exc:
            log.warning("%s: %s", self._folder, exc)

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
    retained = [each for each in checkpoints if each.best or each.for_good or each.name in last]
    return sorted(retained, key=lambda each: each.step)
