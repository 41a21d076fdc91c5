"""Requests that submit jobs, in calls of a size that every server accepts."""

from collections.abc import Iterator
from typing import Final

from talweg.client._handle import new_request_id
from talweg.v1 import jobs_pb2
from talweg.v1.spec_pb2 import JobSpec

MAX_BATCH: Final = 1000
"""Jobs of a call."""
# The response has all defaults, is larger, and must still fit into 4 MiB.
_MAX_BYTES: Final = 2 * 1024 * 1024


def submission(
    spec: JobSpec, request_id: str | None, validate_only: bool
) -> jobs_pb2.SubmitJobRequest:
    """Return a request with an id, so that it can be repeated safely."""
    return jobs_pb2.SubmitJobRequest(
        spec=spec, request_id=request_id or new_request_id(), validate_only=validate_only
    )


def chunks(
    requests: dict[int, jobs_pb2.SubmitJobRequest],
) -> Iterator[dict[int, jobs_pb2.SubmitJobRequest]]:
    """Divide requests into calls of a size that every server accepts."""
    chunk: dict[int, jobs_pb2.SubmitJobRequest] = {}
    num_bytes = 0
    for index, request in requests.items():
        size = request.ByteSize() + 10
        if chunk and (len(chunk) == MAX_BATCH or num_bytes + size > _MAX_BYTES):
            yield chunk
            chunk, num_bytes = {}, 0
        chunk[index] = request
        num_bytes += size
    if chunk:
        yield chunk
