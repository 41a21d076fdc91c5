"""A worker: real attempts, leases, reports and checkpoints, and a training that only counts."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, cast

from tests.simulation.kernel import Kernel, Process, VirtualClock, VirtualSignal
from tests.simulation.network import Network, Stub, StubChannel

from talweg.spec.broker import DEFAULT_QUEUE
from talweg.v1.jobs_pb2 import Job, Outcome
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.workers_pb2 import Assignment, Lease
from talweg.worker.channels import Channel
from talweg.worker.execution.attempt import WorkerContext, carry_out
from talweg.worker.execution.claiming import claim
from talweg.worker.execution.control import JobControl
from talweg.worker.execution.last_words import LostAttempt, tell_of_lost
from talweg.worker.training import Result, Snapshot, Stop

METRIC = "val/loss"
"""Of every step; neither side thins it out."""
SECONDS = "seconds"
"""The tag that says how long a step takes."""

_RESTART_S = 0.5
_PART = "simulated"
_STATES = {
    "cancel": (Job.CANCELLED, Outcome.CANCEL_REQUEST),
    "pause": (Job.PAUSED, Outcome.CAUSE_UNSPECIFIED),
    "shutdown": (Job.QUEUED, Outcome.CAUSE_UNSPECIFIED),
    "lost": (Job.QUEUED, Outcome.CAUSE_UNSPECIFIED),
}


class Broker(Protocol):
    """Where wake-up messages lie."""

    def offer(self) -> None:
        """Hand messages to workers that wait for some."""


class Worker:
    """One worker, whose process may die and be started again."""

    def __init__(
        self, number: int, kernel: Kernel, network: Network, broker: Broker, folder: Path
    ) -> None:
        self.name = f"worker {number}"
        self._kernel, self._network, self._broker = kernel, network, broker
        self._spool, self._blobs = folder / f"spool-{number}", folder / "blobs"
        self._spool.mkdir(parents=True)
        self.training: tuple[str, JobControl] | None = None
        """The job that is trained now, and whether it may go on."""
        self._lease: Lease | None = None
        self._lost: LostAttempt | None = None
        self._is_removed = False
        self._restart_s, self._has_last_words = _RESTART_S, True
        self.start()

    def start(self) -> None:
        """Start a process."""
        self._restart_s, self._has_last_words = _RESTART_S, True
        self.process = Process(self._kernel, self._ended)
        self.clock = VirtualClock(self.process)
        self._stopping = False
        self.training = self._lease = None
        self._is_idle = False
        self._bell = VirtualSignal(self.process)
        channel = StubChannel(Stub(self._network, self.process, self.name))
        self._here = WorkerContext(
            channel=cast(Channel, channel),
            spool_dir=self._spool,
            blobs=str(self._blobs),
            worker=self.name,
            has_cuda=False,
            shutting_down=lambda: self._stopping,
            run=self._train,
            end_process=lambda status: self.process.exit(),
            clock=self.clock,
        )
        self.process.spawn(self._main)

    def crash(self, restart_s: float, *, has_last_words: bool) -> None:
        """End the process at once.

        Args:
            restart_s: Seconds until the next one begins.
            has_last_words: Whether that one finds what this one worked at, and says so.
        """
        if not self.process.is_dead:
            self._restart_s, self._has_last_words = restart_s, has_last_words
            self.process.kill()

    def _ended(self) -> None:
        if self._lease is not None and self._has_last_words:
            self._lost = LostAttempt(self._lease, "killed by signal 9")
        if not self._is_removed:
            self._kernel.after(self._restart_s, self.start)

    def shut_down(self, restart_s: float) -> None:
        """Ask the process to end in order."""
        self._stopping, self._restart_s = True, restart_s
        self._bell.set()

    def freeze(self, seconds: float) -> None:
        """Stop the process for a while."""
        until = self._kernel.now + seconds
        self.process.frozen_until = max(self.process.frozen_until, until)

    @property
    def is_idle(self) -> bool:
        """Whether it waits for a wake-up message."""
        is_frozen = self._kernel.now < self.process.frozen_until
        return self._is_idle and not self.process.is_dead and not is_frozen

    def ring(self) -> None:
        """Deliver a wake-up message."""
        self._is_idle = False
        self._bell.set()

    def _main(self) -> None:
        lost, self._lost = self._lost, None
        if lost is not None:
            tell_of_lost(self._here.channel, lost, clock=self.clock)
        while not self._stopping:
            self._is_idle = True
            self._broker.offer()
            self._bell.wait()
            self._is_idle = False
            self._bell.clear()
            self._answer()
        self.process.exit()

    def _answer(self) -> None:
        """As `Answering`, without its thread and its collection of garbage."""
        ending = None
        while not self._stopping:
            claimed_at = self.clock.monotonic()
            assignment = claim(self._here, DEFAULT_QUEUE)
            if assignment is None:
                break
            self._lease = assignment.lease
            end = carry_out(assignment, claimed_at, self._here)
            if ending is not None:
                ending.join()
            ending = self.clock.task(self._ends(assignment, end), name="ending")
            ending.start()
        if ending is not None:
            ending.join()

    def _ends(self, assignment: Assignment, end: Callable[[], object]) -> Callable[[], None]:
        def ends() -> None:
            end()
            if self._lease == assignment.lease:
                self._lease = None

        return ends

    def _train(
        self, spec: JobSpec, *, report: Any, control: JobControl, device: str, store: Any
    ) -> Result:
        assert self._lease is not None
        self.training = (self._lease.job, control)
        try:
            return self._steps(spec, report, control, store)
        finally:
            self.training = None

    def _steps(self, spec: JobSpec, report: Any, control: JobControl, store: Any) -> Result:
        snapshot = store.load()
        step = 0 if snapshot is None else int(snapshot.values[_PART]["step"])
        total, every = spec.training.steps, spec.training.checkpoints.every_steps

        def save() -> None:
            store.save(Snapshot({}, {_PART: {"step": step}}), step=step, epoch=1, best=None)

        while step < total:
            stop: Stop | None = control.check()
            if stop is not None:
                if stop.reason != "cancel":
                    save()
                state, cause = _STATES[stop.reason]
                return Result(state, cause, stop.detail, steps=step)
            self.clock.sleep(float(spec.tags[SECONDS]))
            step += 1
            report.metrics(step, {METRIC: 1.0 / step})
            report.progress(step, total, 1, 1)
            if step % every == 0:
                save()
        save()
        return Result(Job.SUCCEEDED, steps=step, weights_step=step)

    def remove(self) -> None:
        """Forget what lies on its disk."""
        self._is_removed = True
        self.process.kill()
        shutil.rmtree(self._spool, ignore_errors=True)
