# Made by client/make_asyncio.py from ../../sweeps/_handle.py: change that module.
"""What is known of a sweep: its message from the server, and how it is kept up to date."""

from typing import TYPE_CHECKING, Self

from talweg.client.sweeps._handle import SweepInfo
from talweg.v1 import sweeps_pb2

if TYPE_CHECKING:
    from talweg.client.aio._connection import Connection


class SweepHandle(SweepInfo):
    """A sweep as last reported by the server; `refresh` updates it."""

    def __init__(self, connection: "Connection", message: sweeps_pb2.Sweep) -> None:
        """Wrap a message; called by `Client`."""
        super().__init__(message)
        self._connection = connection

    async def refresh(self) -> Self:
        """Update the sweep from the server.

        Raises:
            TalwegError: An error of the server.
        """
        request = sweeps_pb2.GetSweepRequest(name=self._named())
        self._take_message(await self._connection.call(self._connection.sweeps.GetSweep, request))
        return self
