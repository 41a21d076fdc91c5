"""Which states of a job are last ones: one list for the server, the worker and the client."""

from typing import Final

from talweg.v1.jobs_pb2 import Job

ENDED: Final = frozenset({Job.SUCCEEDED, Job.FAILED, Job.DIVERGED, Job.CANCELLED})
"""The states that a job does not leave."""


def has_ended(state: int) -> bool:
    """Return whether a job in this state is over.

    Args:
        state: The number of a `Job.State`.
    """
    return state in ENDED
