"""Which of a job's checkpoints an attempt goes on from: the newest that is whole.

The record's count, and those that earlier attempts wrote and could not report.
"""

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from talweg.spec import CheckpointName, checkpoint_folder, to_dict
from talweg.v1.jobs_pb2 import Checkpoint
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.workers_pb2 import Lease
from talweg.worker.errors import StoreAwayError
from talweg.worker.execution.checkpoints.reader import CheckpointReader, UnreadableError
from talweg.worker.training.state.checkpoint_files import DamagedError, Written

log = logging.getLogger(__name__)


class CheckpointSearch:
    """One look at what there is."""

    def __init__(
        self,
        reader: CheckpointReader,
        lease: Lease,
        spec: JobSpec,
        *,
        recorded: Sequence[Checkpoint],
        warn: Callable[[str], None],
    ) -> None:
        """List the job's folder.

        Args:
            reader: Of the store.
            lease: Of the attempt that is to go on.
            spec: The job's.
            recorded: What the record names.
            warn: Told, in words for people, what is passed over.

        Raises:
            StoreAwayError: It cannot be listed.
        """
        self._reader, self._warn = reader, warn
        # As a document gives it back.
        self._spec = json.loads(json.dumps(to_dict(spec)))
        self._recorded = [CheckpointName.parse(each.name) for each in recorded]
        stored = reader.checkpoints(checkpoint_folder(lease.job))
        self._others = {
            name: is_complete
            for name, is_complete in stored.items()
            if name.attempt < lease.attempt and name not in self._recorded
        }
        self.damaged: set[str] = set()
        """What has turned out not to be whole."""
        self._unreadable: dict[str, UnreadableError] = {}

    @property
    def unreported(self) -> set[str]:
        """What earlier attempts wrote and the record does not name, readable or damaged."""
        return {str(name) for name in self._others} - self._unreadable.keys()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to go on from, damaged or not."""
        return not self._recorded and not any(self._others.values())

    def newest_whole(self) -> tuple[CheckpointName, Written] | None:
        """Find what to go on from; None to begin anew.

        Raises:
            StoreAwayError: The store does not answer, or not for any of them.
        """
        complete = [name for name, both in self._others.items() if both and not name.best]
        for name in sorted([*self._recorded, *complete], key=self._rank, reverse=True):
            try:
                written = self._reader.read(str(name))
                if name not in self._recorded:
                    self._require_own(written.facts)
            except DamagedError as exc:
                self.damaged.add(str(name))
                self._pass_over(name, exc)
            except UnreadableError as exc:
                self._unreadable[str(name)] = exc
                self._pass_over(name, exc)
            else:
                return name, written
        if self._unreadable:
            # The store may let them be read again, so nothing is begun anew.
            raise StoreAwayError("; ".join(map(str, self._unreadable.values())))
        return None

    def unreported_until(
        self, last: CheckpointName
    ) -> Iterator[tuple[CheckpointName, Mapping[str, Any]]]:
        """Find what the record would name beside what is gone on from, had it been told.

        Args:
            last: What is gone on from; none that the record names.

        Returns:
            What is behind all that the record names, up to `last`, in the order of the steps, with
            what stands beside the tensors.
        """
        known = max((name.step for name in self._recorded), default=-1)
        # Of two attempts that came to the same step, the later one's.
        by_step = {
            (name.step, name.best): name
            for name, is_complete in self._others.items()
            if is_complete and known < name.step <= last.step
        }
        for name in {**by_step, (last.step, False): last}.values():
            try:
                facts = self._reader.facts(str(name))
                self._require_own(facts)
            except (DamagedError, UnreadableError) as exc:
                log.warning("%s: %s", name, exc)
            else:
                yield name, facts

    def _rank(self, name: CheckpointName) -> tuple[int, bool, bool, int]:
        return name.step, name in self._recorded, not name.best, name.attempt

    def _pass_over(self, name: CheckpointName, why: Exception) -> None:
        self._warn(f"The checkpoint of step {name.step} is skipped: {why}.")

    def _require_own(self, facts: Mapping[str, Any]) -> None:
        """Refuse a state that another spec has made.

        Raises:
            DamagedError: It is none of this job as it is now.
        """
        if facts["spec"] != self._spec:
            raise DamagedError("it was made by another spec")
