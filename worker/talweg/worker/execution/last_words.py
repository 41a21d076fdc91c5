"""What is known of a process that runs jobs once it has died: the job that it ran, and of what.

The parent makes it, and each child inherits it. The next child finds what the last one left, and
tells the server at once: the job need not wait for its lease, and its record says what happened.
"""

import faulthandler
import logging
import mmap
import os
import struct
import tempfile
from dataclasses import dataclass

import grpc

from talweg.v1.jobs_pb2 import Job, Outcome
from talweg.v1.workers_pb2 import FinishJobRequest, Lease
from talweg.worker import cgroups, deaths
from talweg.worker.channels import Channel, ServerAwayError, call
from talweg.worker.clock import SYSTEM, Clock

_SIZE = 4096
# The length of a lease, and how many processes had been killed for want of memory as it began.
_HEADER = struct.Struct("<IQ")
_MAX_REPORT = 20_000
# As long as the lease may still last.
_PATIENCE = 30.0

_NO_MEMORY = (
    "its process was killed by the kernel, as it reached the memory limit of its control group "
    "(of a container, systemd or a batch scheduler). Lower training.batch_size, use a smaller "
    "model or data set, or raise the limit"
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LostAttempt:
    """An attempt whose process has died."""

    lease: Lease
    """The attempt's."""
    how: str
    """How it died, in words."""
    is_out_of_memory: bool = False
    """Whether the kernel has killed it for want of memory."""


class LastWords:
    """Memory and a file that a parent and its children share; one child at a time uses them."""

    def __init__(self) -> None:
        """Hold nothing yet."""
        self._memory = mmap.mmap(-1, _SIZE)
        # Each writes behind what is there, whoever moved the common offset. A number, since the
        # worker keeps it until its process ends, where Python warns of files that are open.
        self._report = _unnamed_file()

    def begins(self, lease: Lease) -> None:
        """Note the attempt that this process works at."""
        content = lease.SerializeToString()
        self._memory[_HEADER.size : _HEADER.size + len(content)] = content
        self._memory[: _HEADER.size] = _HEADER.pack(len(content), cgroups.num_killed())

    def ends(self, lease: Lease) -> None:
        """Forget an attempt, unless another has begun since."""
        if self._lease() == lease:
            self._clear()

    def take(self) -> LostAttempt | None:
        """Return what the last child worked at when it died, and how it died; None if at nothing.

        From now on it is this process whose words are kept.
        """
        lease, num_killed = self._lease(), self._header()[1]
        report = os.pread(self._report, _MAX_REPORT, 0).decode(errors="replace")
        self._clear()
        os.ftruncate(self._report, 0)
        # Before the process dies of the signal it writes what it was at.
        faulthandler.enable(self._report)
        if lease is None:
            return None
        if not report and cgroups.num_killed() > num_killed:
            return LostAttempt(lease, _NO_MEMORY, is_out_of_memory=True)
        return LostAttempt(lease, deaths.crashed(report))

    def close(self) -> None:
        """Forget all, and let the next fatal error be reported as usual."""
        faulthandler.enable()
        os.close(self._report)
        self._memory.close()

    def _lease(self) -> Lease | None:
        length, _ = self._header()
        if not length:
            return None
        return Lease.FromString(self._memory[_HEADER.size : _HEADER.size + length])

    def _header(self) -> tuple[int, int]:
        length, num_killed = _HEADER.unpack(self._memory[: _HEADER.size])
        return length, num_killed

    def _clear(self) -> None:
        self._memory[: _HEADER.size] = _HEADER.pack(0, 0)


def _unnamed_file() -> int:
    """Return a file without a name, which goes with the last process that has it."""
    with tempfile.TemporaryFile("a+b") as file:
        return os.dup(file.fileno())


def tell_of_lost(channel: Channel, lost: LostAttempt, *, clock: Clock = SYSTEM) -> None:
    """Tell the server that the process of an attempt is no more, and how it ended.

    A job whose memory did not suffice fails at once: it would take as much again.

    Args:
        channel: To the server.
        lost: The attempt.
        clock: This process's.
    """
    lease = lost.lease
    log.error("%s: attempt %d is lost: %s", lease.job, lease.attempt, lost.how)
    outcome = Outcome(state=Job.QUEUED, cause=Outcome.WORKER_LOST, message=lost.how)
    if lost.is_out_of_memory:
        outcome = Outcome(state=Job.FAILED, cause=Outcome.OUT_OF_MEMORY, message=lost.how)
    request = FinishJobRequest(lease=lease, outcome=outcome)
    try:
        until = clock.monotonic() + _PATIENCE
        call(channel.workers.FinishJob, request, until=until, clock=clock)
    except (ServerAwayError, grpc.RpcError) as exc:
        # Its lease runs out, or has run out: the job is run again either way.
        log.info("%s: the server was not told: %s", lease.job, exc)
