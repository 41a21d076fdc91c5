# Made by client/make_asyncio.py from ../_handle.py: change that module.
"""What is known of a job: its message from the server, and how it is kept up to date."""

from typing import TYPE_CHECKING, Self

from talweg.client._handle import JobInfo
from talweg.v1 import jobs_pb2

if TYPE_CHECKING:
    from talweg.client.aio._connection import Connection


class JobHandle(JobInfo):
    """A job as last reported by the server; `refresh` updates it."""

    def __init__(self, connection: "Connection", message: jobs_pb2.Job) -> None:
        """Wrap a message; called by `Client`."""
        super().__init__(message)
        self._connection = connection

    async def refresh(self) -> Self:
        """Update the job from the server.

        Raises:
            TalwegError: An error of the server.
        """
        request = jobs_pb2.GetJobRequest(name=self._named())
        self._take_message(await self._connection.call(self._connection.jobs.GetJob, request))
        return self
