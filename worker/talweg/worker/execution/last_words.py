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
import time

import grpc

from talweg.v1.jobs_pb2 import Job, Outcome
from talweg.v1.workers_pb2 import FinishJobRequest, Lease
from talweg.worker import deaths
from talweg.worker.channels import Channel, ServerAwayError, call

_SIZE = 4096
_LENGTH = struct.Struct("<I")
_MAX_REPORT = 20_000
# As long as the lease may still last.
_PATIENCE = 30.0

log = logging.getLogger(__name__)


class LastWords:
    """Memory and a file that a parent and its children share; one child at a time uses them."""

    def __init__(self) -> None:
        """Hold nothing yet."""
        self._memory = mmap.mmap(-1, _SIZE)
        # Each writes behind what is there, whoever moved the common offset.
        self._report = tempfile.TemporaryFile("a+b")

    def begins(self, lease: Lease) -> None:
        """Note the attempt that this process works at."""
        content = lease.SerializeToString()
        self._memory[_LENGTH.size : _LENGTH.size + len(content)] = content
        self._memory[: _LENGTH.size] = _LENGTH.pack(len(content))

    def ends(self, lease: Lease) -> None:
        """Forget an attempt, unless another has begun since."""
        if self._lease() == lease:
            self._memory[: _LENGTH.size] = _LENGTH.pack(0)

    def take(self) -> tuple[Lease, str] | None:
        """Return what the last child worked at when it died, and how it died; None if at nothing.

        From now on it is this process whose words are kept.
        """
        lease = self._lease()
        report = os.pread(self._report.fileno(), _MAX_REPORT, 0).decode(errors="replace")
        self._memory[: _LENGTH.size] = _LENGTH.pack(0)
        os.ftruncate(self._report.fileno(), 0)
        # Before the process dies of the signal it writes what it was at.
        faulthandler.enable(self._report)
        return None if lease is None else (lease, deaths.crashed(report))

    def _lease(self) -> Lease | None:
        (length,) = _LENGTH.unpack(self._memory[: _LENGTH.size])
        if not length:
            return None
        return Lease.FromString(self._memory[_LENGTH.size : _LENGTH.size + length])


def tell_of_lost(channel: Channel, lease: Lease, how: str) -> None:
    """Tell the server that the process of an attempt is no more, and how it ended.

    Args:
        channel: To the server.
        lease: The attempt's.
        how: In words.
    """
    log.error("%s: attempt %d is lost: %s", lease.job, lease.attempt, how)
    lost = Outcome(state=Job.QUEUED, cause=Outcome.WORKER_LOST, message=how)
    request = FinishJobRequest(lease=lease, outcome=lost)
    try:
        call(channel.workers.FinishJob, request, until=time.monotonic() + _PATIENCE)
    except (ServerAwayError, grpc.RpcError) as exc:
        # Its lease runs out, or has run out: the job is run again either way.
        log.info("%s: the server was not told: %s", lease.job, exc)
