"""SessionService over gRPC."""

from typing import Any

from talweg.server.services.sessions.closing import ClosingService
from talweg.server.services.sessions.deciding import SessionService
from talweg.v1 import sessions_pb2 as pb
from talweg.v1.sessions_pb2_grpc import SessionServiceServicer


class SessionServicer(SessionServiceServicer):
    """Sessions, as people and agents use them."""

    def __init__(self, sessions: SessionService, closing: ClosingService) -> None:
        """Keep the services.

        Args:
            sessions: Answers.
            closing: Closes them.
        """
        self._sessions = sessions
        self._closing = closing

    async def GetSession(  # noqa: D102 - documented in the proto
        self, request: pb.GetSessionRequest, context: Any
    ) -> pb.Session:
        return await self._sessions.get(request.name)

    async def ListSessions(  # noqa: D102
        self, request: pb.ListSessionsRequest, context: Any
    ) -> pb.ListSessionsResponse:
        page = await self._sessions.list_page(
            page_size=request.page_size, page_token=request.page_token
        )
        return pb.ListSessionsResponse(sessions=page.sessions, next_page_token=page.next_token)

    async def CloseSession(  # noqa: D102
        self, request: pb.CloseSessionRequest, context: Any
    ) -> pb.Session:
        return await self._closing.close(request.name)
