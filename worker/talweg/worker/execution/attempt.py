"""One attempt at a job, from its claim to its end."""

import hashlib
import logging
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import torch
from billiard.common import terminate_handler_fired

from talweg.blobs import Blobs, is_of_one_file
from talweg.spec import job_id, to_dict
from talweg.v1.jobs_pb2 import Job, LogLine, Outcome
from talweg.v1.spec_pb2 import Resources
from talweg.v1.workers_pb2 import Assignment
from talweg.worker import diagnostics
from talweg.worker.channels import Channel, ServerAwayError
from talweg.worker.clock import SYSTEM, Clock
from talweg.worker.environment import environment, environment_message
from talweg.worker.execution import outcomes
from talweg.worker.execution.checkpoints.keeper import CheckpointKeeper
from talweg.worker.execution.control import JobControl
from talweg.worker.execution.ending import Ending
from talweg.worker.execution.last_words import LastWords
from talweg.worker.execution.lease import SAFE_SHARE, LeaseKeeper
from talweg.worker.execution.reporter import JobReporter
from talweg.worker.plugins import digests_of
from talweg.worker.sandbox.sandbox import Sandbox
from talweg.worker.storage import trained_models as kept_models
from talweg.worker.storage.job_store import JobStore
from talweg.worker.tracking import spool
from talweg.worker.tracking.outputs import artifacts
from talweg.worker.tracking.spool import SpoolWriter
from talweg.worker.training import Result, Stop
from talweg.worker.training.distributed.launcher import ProcessLostError
from talweg.worker.training.exits import of_exit
from talweg.worker.training.kept import kept_of

_STORE_PAUSES = (0.5, 2.0)
"""Between tries to write files to a store that is away, in seconds."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WorkerContext:
    """What every attempt of a process has in common."""

    channel: Channel
    """To the server."""
    spool_dir: Path
    """Where results wait for delivery."""
    blobs: str
    """Where checkpoints are kept: a folder, or a URL that fsspec knows."""
    worker: str
    """The worker's name."""
    has_cuda: bool
    """Whether jobs may run on CUDA."""
    shutting_down: Callable[[], bool] = lambda: False
    """Whether the worker is about to end; cheap."""
    run: Callable[..., Result] = diagnostics.run
    """A job's run, from its spec to its result."""
    end_process: Callable[[int], None] = os._exit
    """Ends the process where nothing else helps."""
    sandbox: Sandbox | None = None
    """Runs jobs with code of others; None where `run` runs them too."""
    last_words: LastWords | None = None
    """What is known of this process should it die; None where nobody would take it in."""
    clock: Clock = SYSTEM
    """This process's."""


def carry_out(
    assignment: Assignment, claimed_at: float, here: WorkerContext
) -> Callable[[], Outcome | None]:
    """Run a job under its lease.

    Args:
        assignment: The job and its lease.
        claimed_at: `clock.monotonic()` before it was claimed.
        here: What attempts have in common.

    Returns:
        What tells the server how it ended and closes the spool: to be called once, by any thread,
        soon, since nobody renews the lease any more. It gives what the server has taken, or None
        where the attempt does not count.
    """
    return _Attempt(assignment, claimed_at, here).carry_out()


class _Attempt:
    def __init__(self, assignment: Assignment, claimed_at: float, here: WorkerContext) -> None:
        self._here, self._lease, self._spec = here, assignment.lease, assignment.spec
        self._project = assignment.project
        self._store = JobStore.of(assignment)
        ttl = assignment.time_to_live.ToTimedelta().total_seconds()
        limit = self._spec.resources.time_limit_seconds
        self._control = JobControl(
            lease_end=claimed_at + SAFE_SHARE * ttl,
            time_limit=limit if self._spec.resources.HasField("time_limit_seconds") else None,
            shutting_down=here.shutting_down,
            clock=here.clock,
        )
        self._spool = SpoolWriter(
            here.spool_dir, job_id=job_id(self._lease.job), attempt=self._lease.attempt
        )
        self._reporter = JobReporter(self._spec, self._spool, clock=here.clock)
        self._checkpoints = CheckpointKeeper(
            self._blobs,
            assignment,
            self._reporter,
            self._control,
            holds_lease=self._control.holds_lease,
            pause=here.clock.sleep,
        )
        self._keeper = LeaseKeeper(
            here.channel,
            self._lease,
            time_to_live=ttl,
            claimed_at=claimed_at,
            control=self._control,
            reporter=self._reporter,
            checkpoints=self._checkpoints,
            cut_off=self._cut_off,
            end_process=here.end_process,
            clock=here.clock,
        )
        self._ending = Ending(
            here.channel,
            self._lease,
            control=self._control,
            keeper=self._keeper,
            checkpoints=self._checkpoints,
            clock=here.clock,
        )

    def carry_out(self) -> Callable[[], Outcome | None]:
        started = self._here.clock.monotonic()
        with ExitStack() as spool_closed:
            spool_closed.enter_context(self._spool)
            try:
                self._renew_old_claim()
            except (ServerAwayError, grpc.RpcError) as exc:
                log.warning("%s: abandoned before it started: %s", self._lease.job, exc)
                return lambda: None
            self._spool.begin(
                worker=self._here.worker,
                spec=to_dict(self._spec),
                environment=environment(self._device()),
                project=self._project,
            )
            with self._keeper:
                with self._store.used():
                    outcome = self._train()
                self._store_files()
            # From here on it is the end's to close.
            spool_closed.pop_all()
        return partial(self._end, outcome, started)

    def _end(self, outcome: Outcome, started: float) -> Outcome | None:
        with self._spool:
            taken = self._ending.finish(outcome)
            self._end_spool(outcome, taken)
        log.info(
            "%s attempt %d: %s after %.2f s%s",
            self._lease.job,
            self._lease.attempt,
            Job.State.Name(outcome.state) if taken else spool.LOST,
            self._here.clock.monotonic() - started,
            f": {outcome.message.splitlines()[0]}" if outcome.message else "",
        )
        return outcome if taken else None

    def _renew_old_claim(self) -> None:
        """Renew the lease of a claim that was answered late: little of it may be left."""
        if self._here.clock.monotonic() - self._keeper.renewed_at > 1.0:
            self._keeper.renew()

    def _train(self) -> Outcome:
        plugins = digests_of(self._spec)
        try:
            result = self._run()(
                self._spec,
                report=self._reporter,
                control=self._control,
                device=self._device(),
                store=self._checkpoints,
            )
            outcome = outcomes.of_result(result)
            if outcome.state == Job.SUCCEEDED:
                outcome.model_sha256 = self._keep(result)
                outcome.weights_sha256 = self._digest_of_weights()
                outcome.environment.CopyFrom(environment_message(self._device()))
                # Not of code that was changed meanwhile.
                outcome.environment.plugins.update(
                    plugins.items() & digests_of(self._spec).items()
                )
            if outcome.HasField("divergence"):
                self._spool.document(spool.DIVERGENCE, to_dict(outcome.divergence))
            if outcome.HasField("replay"):
                self._spool.document(spool.REPLAY, to_dict(outcome.replay))
        except ProcessLostError as exc:
            # Nobody renews the lease from here on, and another attempt goes on.
            self._reporter.log(LogLine.ERROR, f"This attempt is lost: {exc}.")
            stop = Stop("lost", str(exc))
            self._ending.lease_is_good = self._control.stopped is None
            self._control.stop(stop.reason, stop.detail)
            outcome = outcomes.of_stop(stop)
        except Exception as exc:
            outcome = outcomes.of_error(exc)
            if outcome.state == Job.QUEUED:
                # Of a full disk all is known.
                self._reporter.log(LogLine.ERROR, outcome.message)
            elif outcome.cause == Outcome.SERVICE:
                log.exception("%s: attempt %d", self._lease.job, self._lease.attempt)
                self._reporter.log(LogLine.ERROR, outcomes.traceback_of(exc))
        except BaseException as exc:
            # Where SIGTERM ends this process by SystemExit, before the loop has seen the flag, the
            # job goes on elsewhere.
            if terminate_handler_fired():
                raise
            outcome = outcomes.of_result(of_exit(exc, self._spec))
            log.error("%s: %s", self._lease.job, outcome.message)
            self._reporter.log(LogLine.ERROR, outcomes.traceback_of(exc))
        return outcome

    def _run(self) -> Callable[..., Result]:
        sandbox = self._here.sandbox
        if sandbox is None or not sandbox.takes(self._spec):
            return self._here.run
        return sandbox.run

    def _blobs(self) -> Blobs:
        return self._store.open(self._here.blobs)

    def _device(self) -> str:
        asked = self._spec.resources.device
        return "cuda" if self._here.has_cuda and asked != Resources.cpu else "cpu"

    def _keep(self, result: Result) -> str:
        """Leave what plots and model are made from in the spool, where the spec asks for them.

        Returns:
            The digest of the model in the blob store; empty where none is kept there.
        """
        bundle = self._reporter.bundle
        kept = result.kept
        if kept is None:
            if bundle is None:
                return ""
            kept = kept_of(result, self._spec, bundle)
        if kept.shown:
            self._spool.tensors(spool.PREDICTIONS, kept.shown)
        if kept.weights is None or kept.description is None or kept.example is None:
            return ""
        self._spool.tensors(spool.WEIGHTS, kept.weights)
        self._spool.document(spool.MODEL, kept.description)
        self._spool.tensors(spool.EXAMPLE, {"x": kept.example})
        return self._share(kept.weights, kept.description) if kept.is_of_images else ""

    def _digest_of_weights(self) -> str:
        """Return the sha256 of the weights that other jobs can start from; empty without such."""
        if spool.WEIGHTS not in self._spool.files:
            return ""
        with (self._spool.folder / spool.WEIGHTS).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def _share(self, weights: Mapping[str, torch.Tensor], description: Mapping[str, Any]) -> str:
        """Keep a model of images where other jobs' losses find it, and give its digest."""
        try:
            return kept_models.write(self._blobs(), self._lease.job, weights, description)
        except (OSError, ImportError, ValueError) as exc:
            self._reporter.log(
                LogLine.WARNING,
                "The model could not be stored in the blob store, and no perceptual loss can use "
                f"it: {exc}.",
            )
            return ""

    def _store_files(self) -> None:
        """Write what the attempt leaves for people to the blob store, while the lease is renewed.

        Where the store stays away, the delivery process writes it later: everything it needs is in
        the spool.
        """
        stop = self._control.stopped
        if stop is not None and stop.reason == "lost":
            return
        try:
            if not self._spool.files and not self._spec.outputs.plots:
                return
            files = artifacts.files_of(
                self._spool.folder,
                self._spool.files,
                self._spec,
                log=self._reporter.log_text(),
                attempt=self._lease.attempt,
            )
            self._store_patiently(files)
        except (OSError, ImportError, ValueError) as exc:
            log.warning("%s: its files are not in the blob store yet: %s", self._lease.job, exc)
            self._reporter.log(
                LogLine.WARNING,
                "The files of this job could not be stored in the blob store yet, and are stored "
                f"once it can be written: {exc}.",
            )

    def _store_patiently(self, files: Mapping[str, Path | bytes]) -> None:
        for pause in (*_STORE_PAUSES, None):
            try:
                blobs = self._blobs()
                artifacts.store(blobs, self._lease.job, self._lease.attempt, files, self._spec)
            except OSError as exc:
                if pause is None or is_of_one_file(exc) or self._control.stopped is not None:
                    raise
                self._here.clock.sleep(pause)
            else:
                return

    def _cut_off(self, stop: Stop) -> None:
        """End the attempt from the lease's thread, since its own does not come to a step."""
        outcome = outcomes.of_stop(stop)
        self._end_spool(outcome, self._ending.finish(outcome))
        if self._here.last_words is not None:
            self._here.last_words.ends(self._lease)

    def _end_spool(self, outcome: Outcome, taken: bool) -> None:
        """End the spool: only an attempt that the server has taken may say how the job ended."""
        try:
            self._spool.end(
                state=Job.State.Name(outcome.state) if taken else spool.LOST,
                cause=Outcome.Cause.Name(outcome.cause) if outcome.cause else "",
                message=outcome.message,
            )
        except OSError as exc:
            log.error("%s: cannot write to the spool: %s", self._lease.job, exc)


def is_device_broken() -> bool:
    """Return whether CUDA only raises errors from now on, as after an assertion on the device."""
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return False
    try:
        torch.cuda.synchronize()
    except RuntimeError:
        log.exception("the CUDA device is no longer usable by this process")
        return True
    return False
