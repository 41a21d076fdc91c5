"""One job's way from the spool to its run in MLflow."""

import logging
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from talweg.spec import from_dict, to_yaml
from talweg.spec.states import has_ended
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.tracking.attempts import SpooledAttempt
from talweg.worker.tracking.errors import (
    RefusedError,
    RunDeletedError,
    RunGoneError,
    TrackingAwayError,
    TrackingBusyError,
)
from talweg.worker.tracking.job_delivery.ending import Ending, EndQuery
from talweg.worker.tracking.job_delivery.first_part import send_first_part
from talweg.worker.tracking.job_delivery.home import close_surplus, ensure_run, has_no_run
from talweg.worker.tracking.job_delivery.other_spools import OtherSpools, Turn
from talweg.worker.tracking.job_delivery.points import PointSender
from talweg.worker.tracking.job_delivery.removal import (
    remove_all_of,
    remove_folder,
    remove_leftovers_of,
)
from talweg.worker.tracking.job_delivery.state import DeliveryState
from talweg.worker.tracking.job_delivery.stored_files import StoredFiles
from talweg.worker.tracking.outputs.labels import NOTE_TAG
from talweg.worker.tracking.outputs.results import NotMadeError, send_diagnoses, send_outputs
from talweg.worker.tracking.outputs.training_data import training_data
from talweg.worker.tracking.outputs.views import shared_view
from talweg.worker.tracking.record import Record
from talweg.worker.tracking.runs import RunId, Runs, longest_call_seconds
from talweg.worker.tracking.spool import Point, attempts, now_ms

# Whoever wrote something so short a time ago holds the job's lease.
_FRESH_MS = 2_000

log = logging.getLogger(__name__)


class JobDelivery:
    """Brings one job's results to MLflow, as far as they have come.

    `advance` may raise at any point, or the process may be killed: the next call, or the next
    process, goes on where the state file says.
    """

    def __init__(
        self,
        folder: Path,
        *,
        runs: Runs,
        record: Record,
        blobs: str,
        spool: str = "",
        wait_seconds: float = 0.0,
    ) -> None:
        """Read the state file where there is one.

        Args:
            folder: The job's folder in the spool.
            runs: MLflow.
            record: The server.
            blobs: The blob store's folder or URL.
            spool: The spool's id; by default nobody else has a part of the job.
            wait_seconds: How long other machines' results are waited for.
        """
        self._blobs = blobs
        self.folder, self.job_id = folder, folder.name
        self._runs, self._record = runs, record
        state = DeliveryState.load(folder)
        self._is_new = state is None
        self._state = state or DeliveryState()
        self._attempts: dict[int, SpooledAttempt] = {}
        self._spec: JobSpec | None = None
        self._end_query = EndQuery(self.job_id, record)
        self._overtaken: set[int] = set()
        self._points = PointSender(self.job_id, runs, state=lambda: self._state)
        self._others = OtherSpools(
            self.job_id,
            record,
            spool=spool,
            wait_seconds=wait_seconds,
            state=lambda: self._state,
            save=self._save,
        )
        self._stored = StoredFiles(folder, record=record, blobs=blobs, once=self._once)

    def advance(self) -> bool:
        """Send what there is to send.

        Returns:
            Whether the job is done with: everything has arrived and its folder is gone.

        Raises:
            TrackingError: MLflow; try again later.
            ServerAwayError: The server did not answer; try again later.
        """
        for number in attempts(self.folder):
            self._attempts.setdefault(number, SpooledAttempt(self.folder, number))
        try:
            for _, attempt in sorted(self._attempts.items()):
                if not self._send(attempt):
                    return False
            self._close_surplus()
            return self._finish()
        except RunGoneError as exc:
            return self._run_is_gone(exc)
        except TrackingAwayError:
            self._stored.store_without_mlflow(self._attempts)
            raise

    @property
    def _run(self) -> RunId:
        return RunId(self._state.run_id, self._state.experiment_id)

    def _save(self) -> None:
        self._state.save(self.folder)

    def _once(self, name: str, step: Callable[[], None]) -> None:
        """Take a step that is taken once a run; one that fails for good is left out."""
        if name in self._state.done:
            return
        try:
            step()
        except (RefusedError, RunGoneError, NotMadeError) as exc:
            if isinstance(exc, RunGoneError):
                # Raises where it is the run that is gone, and not what belongs to it.
                self._runs.get(self._state.run_id)
            log.error("%s: %s is left out: %s", self.job_id, name, exc)
            self._state.leave_out(name, exc)
        self._state.done.append(name)
        self._save()

    def _send(self, attempt: SpooledAttempt) -> bool:
        """Send what an attempt tells; False where it must wait, and what comes after it too."""
        key = str(attempt.number)
        if attempt.number in self._overtaken or attempt.is_idle(sent=self._sent_of(attempt)):
            return True
        for points, offset in attempt.unsent(self._sent_of(attempt)):
            if attempt.begin is None:
                raise RefusedError(f"{attempt.lines} does not begin with its job")
            spec = self._spec_of(attempt.begin)
            if has_no_run(spec):
                self._state.offsets[key] = offset
                continue
            ensure_run(
                attempt.begin, spec, tags=attempt.tags, job_id=self.job_id, state=self._state,
                save=self._save, is_new=self._is_new, runs=self._runs, record=self._record,
            )  # fmt: skip
            if not self._may_begin(attempt):
                return False
            self._send_first_part(spec)
            if self._is_overtaken(attempt, points) or not self._points.send(
                attempt, spec, points, is_overtaken=self._is_overtaken
            ):
                log.info("%s: attempt %s is kept until its job has ended", self.job_id, key)
                self._overtaken.add(attempt.number)
                break
            self._state.offsets[key] = offset
            self._save()
        if attempt.begin is not None and not has_no_run(self._spec_of(attempt.begin)):
            # Also where an earlier process has sent all: what is made of it needs the spec.
            self._describe(attempt, self._spec_of(attempt.begin))
        return True

    def _send_first_part(self, spec: JobSpec) -> None:
        if not spec.continued_from.as_whole:
            return
        self._once(
            "first part",
            lambda: send_first_part(
                self.job_id, state=self._state, runs=self._runs, record=self._record
            ),
        )

    def _spec_of(self, begin: Mapping[str, Any]) -> JobSpec:
        if self._spec is None:
            self._spec = from_dict(begin["spec"])
        return self._spec

    def _sent_of(self, attempt: SpooledAttempt) -> int:
        return self._state.offsets.get(str(attempt.number), 0)

    def _is_overtaken(self, attempt: SpooledAttempt, points: list[Point]) -> bool:
        """Return whether another machine has the attempt after this one.

        It tells of steps again that MLflow did not hold when it began: those behind the checkpoint
        from which it goes on. Which of them are left to tell of here is known once it has told.
        """
        assert attempt.begin is not None
        if attempt.number + 1 in self._attempts or attempt.final_state:
            return False
        if attempt.number < max(self._attempts):
            return True
        newest = points[-1][1] if points else attempt.begin["time"]
        if now_ms() - newest < _FRESH_MS:
            return False
        job = self._record.job(self.job_id)
        return job is not None and job.attempt > attempt.number

    def _may_begin(self, attempt: SpooledAttempt) -> bool:
        """Return whether an attempt may be told of, after one that another machine tells of.

        That machine asks before each call whether it still has the job. A call that was on its way
        when the job was taken from it must have come to its end before MLflow is asked which steps
        it holds, or both would send the same ones.
        """
        is_first = str(attempt.number) not in self._state.offsets
        if not is_first or attempt.number - 1 in {0, *self._attempts}:
            return True
        assert attempt.begin is not None
        if now_ms() - attempt.begin["time"] < _FRESH_MS + 1000 * longest_call_seconds():
            return False
        self._state.high_water |= self._runs.high_water(self._state.run_id)
        return True

    def _describe(self, attempt: SpooledAttempt, spec: JobSpec) -> None:
        data = attempt.data
        self._once(
            "job file",
            lambda: self._runs.log_text(self._state.run_id, to_yaml(spec), "job.yaml"),
        )
        if not spec.HasField("replay"):
            self._once(
                "view",
                lambda: self._runs.share_view(self._state.experiment_id, *shared_view(spec)),
            )
        if data is not None:
            self._once(
                "data",
                lambda: self._runs.log_data(self._state.run_id, training_data(spec, data)),
            )
        send_diagnoses(attempt, spec, run=self._run, runs=self._runs, once=self._once)

    def _run_is_gone(self, error: RunGoneError) -> bool:
        """Drop the rest where a person deleted the run; send all again where MLflow lost it."""
        try:
            self._runs.get(self._state.run_id)
        except RunDeletedError:
            pass
        except RunGoneError:
            log.warning("%s: MLflow has lost its run; sending all again", self.job_id)
            self._state = DeliveryState(replaces=self._state.run_id)
            self._save()
            return False
        else:
            raise TrackingBusyError(str(error)) from error
        if not self._job_has_ended():
            return False
        self._stored.store_without_mlflow(self._attempts)
        log.warning("%s: its run was deleted; the remaining results are dropped", self.job_id)
        self._say_complete(deleted=True)
        remove_folder(self.folder)
        return True

    def _finish(self) -> bool:
        """Close the run of a job that has ended, once nothing of it is left to send.

        Only the spool says what is left: how long it has been silent says nothing, since this
        process may have waited for MLflow, or have been stopped, all the while.
        """
        ending = self._ending()
        if ending is None:
            self._acknowledge()
            return False
        if not self._is_all_sent(ending, besides=self._overtaken):
            return False
        if self._overtaken and not self._others.are_later_delivered(max(self._attempts)):
            return False
        overtaken = [self._attempts[number] for number in sorted(self._overtaken)]
        self._points.send_leftovers(overtaken, sent_of=self._sent_of, save=self._save)
        is_here = ending.attempt in self._attempts
        if is_here and (self._state.run_id or (self._spec and has_no_run(self._spec))):
            self._send_files(self._attempts[ending.attempt])
        if not self._close_surplus() or not self._is_all_sent(ending):
            return False
        turn = self._turn(ending.attempt, is_here=is_here)
        if self._state.run_id:
            if turn is Turn.WAIT:
                return False
            if turn is Turn.CLOSE:
                self._close_run(ending)
        # Again: a call may have taken long.
        if not self._is_all_sent(ending):
            return False
        if self._state.run_id and turn is Turn.CLOSE:
            self._say_complete(missing=self._others.missing)
        remove_leftovers_of(
            self.job_id, self._attempts.values(), record=self._record, blobs=self._blobs
        )
        remove_folder(self.folder)
        return True

    def _acknowledge(self) -> None:
        """Say that all is delivered of attempts after which others may come, elsewhere."""
        if self._overtaken or not self._attempts or not self._state.run_id:
            return
        last = self._attempts[max(self._attempts)]
        # In this order: what stands in the file of a writer that is gone is all.
        if last.is_over() and last.is_all_sent(sent=self._sent_of(last)):
            self._others.acknowledge(last.number)

    def _turn(self, last: int, *, is_here: bool) -> Turn:
        """Return what is to be done once all that lies here is delivered."""
        if is_here and all(number in self._attempts for number in range(1, last)):
            return Turn.CLOSE
        return self._others.turn(last, is_here=is_here)

    def _is_all_sent(self, ending: Ending, *, besides: Collection[int] = ()) -> bool:
        """Return whether MLflow has every line of the spool, and none can follow that counts.

        The attempt that ended the job tells the server first and its spool last. Attempts before
        it have lost their leases: what they may still write does not count.

        Args:
            ending: How the job ended.
            besides: Numbers of attempts that need not have been sent.
        """
        last = self._attempts.get(ending.attempt)
        # In this order: what stands in the file of a writer that is gone is all.
        if last is not None and not last.is_over():
            return False
        if set(attempts(self.folder)) != self._attempts.keys():
            return False
        return all(
            attempt.is_all_sent(sent=self._sent_of(attempt))
            for attempt in self._attempts.values()
            if attempt.number not in besides
        )

    def _ending(self) -> Ending | None:
        """Return how the job ended; None where it has not, as far as is known."""
        last = self._attempts[max(self._attempts)] if self._attempts else None
        spooled_ending = Ending.told_by(last) if last is not None else None
        return spooled_ending or self._end_query.ask(
            last, self._attempts, overtaken=bool(self._overtaken)
        )

    def _job_has_ended(self) -> bool:
        if any(attempt.final_state for attempt in self._attempts.values()):
            return True
        job = self._record.job(self.job_id)
        return job is None or has_ended(job.state)

    def _send_files(self, last: SpooledAttempt) -> None:
        """Send what is made from the files that the attempts have left."""
        if self._spec is None:
            return
        attempts = list(self._attempts.values())
        if has_no_run(self._spec):
            self._stored.store(last, attempts, self._spec)
            return
        for attempt in attempts:
            # Again, where an earlier call was cut short.
            send_diagnoses(attempt, self._spec, run=self._run, runs=self._runs, once=self._once)
        # First, since people wait for them, and MLflow's model takes seconds.
        with suppress(TrackingBusyError):
            self._stored.store(last, attempts, self._spec)
        send_outputs(
            last, attempts, self._spec, run=self._run, runs=self._runs, state=self._state,
            save=self._save, once=self._once,
        )  # fmt: skip
        self._stored.store(last, attempts, self._spec)

    def _close_surplus(self) -> bool:
        return close_surplus(
            self._run, job_id=self.job_id, state=self._state, save=self._save, runs=self._runs
        )

    def _close_run(self, ending: Ending) -> None:
        tags = {**ending.tags, NOTE_TAG: ending.description(self._spec, self._attempts)}
        if changed := self._points.changed_tags(tags):
            self._runs.log(self._state.run_id, tags=changed)
        end_ms = max(ending.time_ms, self._start_ms())
        self._runs.close(self._state.run_id, status=ending.status, end_ms=end_ms)

    def _start_ms(self) -> int:
        """Return when the run began: by the clock of another machine, where that began the job."""
        first = self._attempts.get(1)
        if first is not None and first.begin is not None:
            return int(first.begin["time"])
        return int(self._runs.get(self._state.run_id).info.start_time)

    def _say_complete(self, *, missing: str = "", deleted: bool = False) -> None:
        recorded = self._record.set_run(
            self.job_id,
            self._run,
            expected=self._state.run_id,
            url=self._runs.url(self._run),
            complete=True,
            missing=missing,
            left_out=self._state.left_out_text,
            deleted=deleted,
        )
        if recorded is None:
            remove_all_of(self.job_id, self._attempts.values(), blobs=self._blobs)
