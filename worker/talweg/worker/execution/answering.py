"""Answering a wake-up message: taking jobs from a queue until there are none."""

import gc
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import torch

from talweg.v1.jobs_pb2 import Outcome
from talweg.v1.workers_pb2 import Assignment, FinishJobRequest
from talweg.worker.channels import ServerAwayError, call
from talweg.worker.execution import outcomes
from talweg.worker.execution.attempt import WorkerContext, carry_out, is_device_broken
from talweg.worker.execution.claiming import claim
from talweg.worker.execution.fitness import why_unfit
from talweg.worker.execution.lease import EXIT_STATUS

# A wake-up message is answered until then, so that Celery can replace and stop its child.
MAX_JOBS = 100
MAX_SECONDS = 60.0

log = logging.getLogger(__name__)


def has_cuda(device: str) -> bool:
    """Return whether this process offers CUDA. Asks the device: never before a fork.

    Args:
        device: "auto", "cpu" or "cuda".
    """
    return device == "cuda" or (device == "auto" and torch.cuda.is_available())


class Answering:
    """Takes jobs and carries them out, one after another, in this process.

    Of several, the next is claimed and begun while the server is told how the last one ended: the
    record's disk takes as long for that as a tiny job for itself.
    """

    def __init__(self, here: WorkerContext) -> None:
        """Send nothing yet.

        Args:
            here: What all attempts have in common.
        """
        self._here = here
        self._unfit = ""
        self._has_settled = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ending")
        self._ending: Future[None] | None = None

    def answer(self, queue: str) -> int:
        """Carry out jobs of a queue until there are none, or others should have a turn.

        Args:
            queue: To take jobs from.

        Returns:
            How many were carried out.
        """
        try:
            return self._answer(queue)
        finally:
            self._await_ending()

    def _answer(self, queue: str) -> int:
        now = self._here.clock.monotonic
        until = now() + MAX_SECONDS
        for done in range(MAX_JOBS):
            if self._here.shutting_down() or now() > until or not self._is_fit():
                return done
            claimed_at = now()
            assignment = claim(self._here, queue)
            if assignment is None:
                return done
            self._carry_out(assignment, claimed_at)
            if not done:
                # Mostly it was the only one: a claim beside it would but delay its end.
                self._await_ending()
        return MAX_JOBS

    def _is_fit(self) -> bool:
        """Return whether results can be kept."""
        unfit = why_unfit(self._here.spool_dir)
        if unfit and unfit != self._unfit:
            log.error("accepts no jobs: %s", unfit)
        elif self._unfit and not unfit:
            log.info("accepts jobs again")
        self._unfit = unfit
        return not unfit

    def _carry_out(self, assignment: Assignment, claimed_at: float) -> None:
        with self._telling_failures(assignment, claimed_at):
            if self._here.last_words is not None:
                self._here.last_words.begins(assignment.lease)
            end = carry_out(assignment, claimed_at, self._here)
            self._await_ending()
            self._ending = self._thread.submit(self._end, assignment, claimed_at, end)
        gc.collect()
        if not self._has_settled:
            # What a first job has imported and kept stays: no later collection need look at it.
            gc.freeze()
            self._has_settled = True
        if self._here.has_cuda:
            if is_device_broken():
                self._await_ending()
                self._here.end_process(EXIT_STATUS)
            torch.cuda.empty_cache()

    def _end(
        self, assignment: Assignment, claimed_at: float, end: Callable[[], Outcome | None]
    ) -> None:
        with self._telling_failures(assignment, claimed_at):
            end()
        if self._here.last_words is not None:
            self._here.last_words.ends(assignment.lease)

    def _await_ending(self) -> None:
        """Wait for the last job's end, so that at most one is on its way."""
        if self._ending is not None:
            self._ending.result()
            self._ending = None

    @contextmanager
    def _telling_failures(self, assignment: Assignment, claimed_at: float) -> Iterator[None]:
        try:
            yield
        except Exception as exc:
            log.exception("%s", assignment.lease.job)
            self._tell_failure(assignment, claimed_at, exc)

    def _tell_failure(self, assignment: Assignment, claimed_at: float, error: Exception) -> None:
        """End a job whose attempt could not be made: mostly the spool cannot be written."""
        request = FinishJobRequest(lease=assignment.lease, outcome=outcomes.of_error(error))
        until = claimed_at + assignment.time_to_live.ToTimedelta().total_seconds()
        try:
            call(
                self._here.channel.workers.FinishJob, request, until=until, clock=self._here.clock
            )
        except (ServerAwayError, grpc.RpcError) as exc:
            # The lease runs out, and the job is run again, unless it has ended already.
            log.warning("%s: the server could not be notified: %s", assignment.lease.job, exc)
