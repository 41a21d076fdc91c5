# Made by client/make_asyncio.py from ../../sessions/_client.py: change that module.
"""The part of a client that reads sessions."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from talweg.client.aio._pages import paged
from talweg.client.aio.sessions._handle import AsyncSession
from talweg.client.sessions._client import _PAGE
from talweg.spec import session_name
from talweg.v1 import sessions_pb2

if TYPE_CHECKING:
    from talweg.client.aio._connection import Connection


class SessionClient:
    """The part of a client that reads sessions."""

    _connection: "Connection"

    async def session(self, name: str) -> AsyncSession:
        """Return the handle of a session, which began with the first job or sweep that named it.

        Args:
            name: ``sessions/{id}``, or the id alone.

        Raises:
            NotFound: Nothing has named it yet.
            ValueError: This is not the name of a session.
            TalwegError: Another error of the server.
        """
        request = sessions_pb2.GetSessionRequest(name=session_name(name.removeprefix("sessions/")))
        message = await self._connection.call(self._connection.sessions.GetSession, request)
        return AsyncSession(self._connection, message)

    async def sessions(self, *, limit: int | None = None) -> AsyncIterator[AsyncSession]:
        """Yield sessions, the newest first, page by page; without their answers.

        Args:
            limit: The largest number of sessions.

        Raises:
            TalwegError: An error of the server.
        """
        async for message in paged(
            self._connection,
            self._connection.sessions.ListSessions,
            sessions_pb2.ListSessionsRequest(),
            lambda response: response.sessions,
            page_size=_PAGE,
            limit=limit,
        ):
            yield AsyncSession(self._connection, message)
