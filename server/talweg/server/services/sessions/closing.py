"""Closing sessions."""

from talweg.server.services.arguments import session_of
from talweg.server.services.sessions.deciding import SessionService
from talweg.server.services.sessions.testing import close
from talweg.server.store.record.database import Database
from talweg.v1.sessions_pb2 import Session


class ClosingService:
    """Closes sessions, and has their kept weights tested."""

    def __init__(self, database: Database, sessions: SessionService) -> None:
        """Keep its collaborators.

        Args:
            database: The record.
            sessions: Answers.
        """
        self._database = database
        self._sessions = sessions

    async def close(self, name: str) -> Session:
        """Close a session. Closing it again tests what was tested in vain.

        Args:
            name: `sessions/{id}`.

        Raises:
            SessionNotFound: Nothing has named it.
            SessionState: Jobs or sweeps of it have not ended.
            InvalidRequest: That is not a session's name.
            InternalError: The statistics failed; the log says how.
        """
        id_ = session_of(name)
        # What is decided rests on validation data alone: looks come before the tests.
        await self._sessions.of(id_)
        await self._database.writing(close, id_)
        # Nothing more is submitted again: looks that jobs which failed have held up are taken.
        return await self._sessions.of(id_)
