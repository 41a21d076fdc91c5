# Made by client/make_asyncio.py from ../../sessions/_handle.py: change that module.
"""The handle of a session."""

import time
from typing import TYPE_CHECKING, Self

from talweg.client._errors import WaitTimeout
from talweg.client._handle import Seconds, to_seconds
from talweg.client.sessions._handle import _POLL_SECONDS, _POLLS_UNTIL_CLOSED_AGAIN
from talweg.client.sessions._values import ProposalAnswer
from talweg.spec import session_id
from talweg.v1 import sessions_pb2

if TYPE_CHECKING:
    from talweg.client.aio._connection import Connection


class AsyncSession:
    """A session as last reported by the server; `refresh` updates it."""

    def __init__(self, connection: "Connection", message: sessions_pb2.Session) -> None:
        """Wrap a message; called by `Client`."""
        self._connection = connection
        self._message = message

    @property
    def message(self) -> sessions_pb2.Session:
        """The message from the server."""
        return self._message

    @property
    def name(self) -> str:
        """sessions/{id}."""
        return self._message.name

    @property
    def id(self) -> str:
        """The name without ``sessions/``; what jobs and sweeps name as `session`."""
        return session_id(self.name)

    @property
    def state(self) -> str:
        """``OPEN``, ``CLOSING`` or ``CLOSED``."""
        return sessions_pb2.Session.State.Name(self._message.state)

    @property
    def budget_text(self) -> str:
        """What of the error budget is spent and left, and what the next answer takes, in words."""
        message, plural = self._message, "s" * (self._message.num_answers != 1)
        return (
            f"{message.num_answers} answer{plural}, {message.spent:.3g} of an error of "
            f"{message.error:g} spent, {message.left:.3g} left; the next answer is held at "
            f"{message.next_level:.2g} and takes at least {message.next_least_pairs} pairs"
        )

    def __repr__(self) -> str:
        """Show name, state and budget."""
        return f"<{type(self).__name__} {self.name} {self.state}: {self.budget_text}>"

    async def refresh(self) -> Self:
        """Update the session from the server, which takes the looks that are due.

        Raises:
            TalwegError: An error of the server.
        """
        request = sessions_pb2.GetSessionRequest(name=self.name)
        self._message = await self._connection.call(self._connection.sessions.GetSession, request)
        return self

    async def answers(self) -> list[ProposalAnswer]:
        """Return what is decided about each proposal now, in the order of submission.

        Asking spends nothing: each proposal has had its share since it was submitted.

        Raises:
            TalwegError: An error of the server.
        """
        await self.refresh()
        return [ProposalAnswer.of(each) for each in self._message.answers]

    async def close(self) -> Self:
        """Close the session: it takes nothing more, and its kept weights are tested.

        `wait` waits for the tests. Closing it again tests what was not, or in vain.

        Raises:
            FailedPrecondition: Jobs or sweeps of it have not ended.
            TalwegError: Another error of the server.
        """
        request = sessions_pb2.CloseSessionRequest(name=self.name)
        self._message = await self._connection.call(
            self._connection.sessions.CloseSession, request
        )
        return self

    async def wait(self, timeout: Seconds | None = None) -> Self:
        """Wait until a session that was closed has been tested.

        Args:
            timeout: A timedelta, or seconds; no limit if None.

        Raises:
            WaitTimeout: It has not by then.
            ValueError: The session is open, and so is not tested.
            TalwegError: An error of the server.
        """
        seconds = to_seconds(timeout)
        until = None if seconds is None else time.monotonic() + seconds
        polls = 0
        while (await self.refresh()).state != "CLOSED":
            if self.state == "OPEN":
                raise ValueError(f"{self.name} is open: close it, which has it tested")
            if until is not None and time.monotonic() >= until:
                raise WaitTimeout(f"{self.name} has not been tested after {seconds:g} s")
            await self._connection.pause(_POLL_SECONDS)
            polls += 1
            if polls % _POLLS_UNTIL_CLOSED_AGAIN == 0:
                await self.close()
        return self
