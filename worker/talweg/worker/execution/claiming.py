"""Asking the server for a job."""

import logging
import uuid

import grpc

from talweg.v1.workers_pb2 import Assignment, Capabilities, ClaimJobsRequest
from talweg.worker.channels import ServerAwayError, call
from talweg.worker.execution.attempt import WorkerContext
from talweg.worker.tracking.spool import spool_id

# How long a claim waits for a server that restarts.
_PATIENCE = 30.0

log = logging.getLogger(__name__)


def claim(here: WorkerContext, queue: str) -> Assignment | None:
    """Take a job of a queue, if there is one.

    Args:
        here: What all attempts have in common.
        queue: To take it from.
    """
    request = ClaimJobsRequest(
        queue=queue,
        worker=here.worker,
        capabilities=Capabilities(devices=["cpu", "cuda"] if here.has_cuda else ["cpu"]),
        limit=1,
        request_id=uuid.uuid4().hex,
        spool=spool_id(here.spool_dir),
    )
    try:
        claimed = call(
            here.channel.workers.ClaimJobs,
            request,
            until=here.clock.monotonic() + _PATIENCE,
            give_up=here.shutting_down,
            clock=here.clock,
        )
    except (ServerAwayError, grpc.RpcError) as exc:
        # The server rings again for jobs that still wait.
        log.warning("cannot accept a job: %s", exc)
        return None
    return claimed.assignments[0] if claimed.assignments else None
