"""The part of a client that reads sessions."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from talweg.client._pages import paged
from talweg.client.sessions._handle import Session
from talweg.spec import session_name
from talweg.v1 import sessions_pb2

if TYPE_CHECKING:
    from talweg.client._connection import Connection

_PAGE = 50


class SessionClient:
    """The part of a client that reads sessions."""

    _connection: "Connection"

    def session(self, name: str) -> Session:
        """Return the handle of a session, which began with the first job or sweep that named it.

        Args:
            name: ``sessions/{id}``, or the id alone.

        Raises:
            NotFound: Nothing has named it yet.
            ValueError: This is not the name of a session.
            TalwegError: Another error of the server.
        """
        request = sessions_pb2.GetSessionRequest(name=session_name(name.removeprefix("sessions/")))
        message = self._connection.call(self._connection.sessions.GetSession, request)
        return Session(self._connection, message)

    def sessions(self, *, limit: int | None = None) -> Iterator[Session]:
        """Yield sessions, the newest first, page by page; without their answers.

        Args:
            limit: The largest number of sessions.

        Raises:
            TalwegError: An error of the server.
        """
        for message in paged(
            self._connection,
            self._connection.sessions.ListSessions,
            sessions_pb2.ListSessionsRequest(),
            lambda response: response.sessions,
            page_size=_PAGE,
            limit=limit,
        ):
            yield Session(self._connection, message)
