# Made by client/make_asyncio.py from ../../identity/_client.py: change that module.
"""Tokens and the audit log of a server."""

from collections.abc import AsyncIterator, Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from talweg.client._errors import to_message
from talweg.client.aio._pages import paged
from talweg.client.identity._client import _PAGE
from talweg.client.identity._values import NewToken, role_value
from talweg.v1 import identity_pb2

if TYPE_CHECKING:
    from talweg.client.aio._connection import Connection


class IdentityClient:
    """The part of a client that asks who may do what."""

    _connection: "Connection"

    async def caller(self) -> identity_pb2.Caller:
        """Return who the server takes this client for: its role and its project.

        Raises:
            PermissionDenied: The server does not know the token.
            TalwegError: Another error of the server.
        """
        method = self._connection.identity.GetCaller
        return await self._connection.call(method, identity_pb2.GetCallerRequest())

    async def create_token(
        self,
        role: str,
        *,
        project: str = "default",
        description: str = "",
        queues: Iterable[str] = (),
        expires: timedelta | None = None,
    ) -> NewToken:
        """Create a token. It takes an admin.

        Args:
            role: What its holder may do: viewer, submitter, admin or worker.
            project: The project that it is for; "*" stands for all.
            description: For people: what it is for.
            queues: The queues that a worker's token may serve; all if empty.
            expires: How long it holds; for good if None.

        Returns:
            The token, which nobody can read again.

        Raises:
            ValueError: There is no such role.
            InvalidRequest: Another argument is invalid.
            PermissionDenied: The caller is not an admin of the project.
            TalwegError: Another error of the server.
        """
        request = identity_pb2.CreateTokenRequest(
            description=description, role=role_value(role), project=project, queues=queues
        )
        if expires is not None:
            request.time_to_live.FromTimedelta(expires)
        # Nobody could use a token whose answer was lost: another try makes another one.
        response = await self._connection.call(self._connection.identity.CreateToken, request)
        return NewToken(response.token, response.secret)

    async def tokens(self, *, include_invalid: bool = False) -> list[identity_pb2.Token]:
        """Return the tokens of the projects that the caller administers, the newest first.

        Args:
            include_invalid: Revoked and expired ones too.

        Raises:
            PermissionDenied: The caller is no admin.
            TalwegError: Another error of the server.
        """
        request = identity_pb2.ListTokensRequest(show_invalid=include_invalid)
        return list(
            (await self._connection.call(self._connection.identity.ListTokens, request)).tokens
        )

    async def revoke_token(self, name: str) -> identity_pb2.Token:
        """Revoke a token: calls with it are refused from then on.

        Args:
            name: ``tokens/{id}``, or the id alone.

        Raises:
            NotFound: There is none, or not in a project that the caller administers.
            PermissionDenied: The caller is no admin.
            TalwegError: Another error of the server.
        """
        whole = name if name.startswith("tokens/") else f"tokens/{name}"
        request = identity_pb2.RevokeTokenRequest(name=whole)
        return await self._connection.call(self._connection.identity.RevokeToken, request)

    async def projects(self) -> list[identity_pb2.Project]:
        """Return the projects that the caller administers: their quotas, and what they have.

        Raises:
            PermissionDenied: The caller is no admin.
            TalwegError: Another error of the server.
        """
        method = self._connection.identity.ListProjects
        return list(
            (await self._connection.call(method, identity_pb2.ListProjectsRequest())).projects
        )

    async def update_project(
        self,
        name: str,
        *,
        max_open_jobs: int | None = None,
        max_running_jobs: int | None = None,
        max_stored_bytes: int | None = None,
        max_gpu_hours: float | None = None,
    ) -> identity_pb2.Project:
        """Set the quotas of a project, all of them. It takes an admin of all projects.

        Args:
            name: The project.
            max_open_jobs: Jobs that may wait, run or be paused; None for no bound.
            max_running_jobs: Jobs that may run; None for no bound.
            max_stored_bytes: Bytes of stored data sets; None for no bound.
            max_gpu_hours: Hours of GPUs in the last 30 days; None for no bound.

        Raises:
            InvalidRequest: An argument is invalid.
            PermissionDenied: The caller is not an admin of all projects.
            TalwegError: Another error of the server.
        """
        bounds = {
            "max_open_jobs": max_open_jobs,
            "max_running_jobs": max_running_jobs,
            "max_stored_bytes": max_stored_bytes,
            "max_gpu_hours": max_gpu_hours,
        }
        given = {field: bound for field, bound in bounds.items() if bound is not None}
        quotas = to_message(given, identity_pb2.Quotas, path="quotas")
        request = identity_pb2.UpdateProjectRequest(name=name, quotas=quotas)
        return await self._connection.call(self._connection.identity.UpdateProject, request)

    async def audit(
        self, *, since: datetime | None = None, limit: int | None = None
    ) -> AsyncIterator[identity_pb2.AuditEntry]:
        """Yield who changed what in the projects that the caller administers, the newest first.

        Args:
            since: No entries before, with its zone; all if None.
            limit: At most this many; all if None.

        Raises:
            PermissionDenied: The caller is no admin.
            TalwegError: Another error of the server.
        """
        request = identity_pb2.ListAuditEntriesRequest()
        if since is not None:
            request.since.FromDatetime(since)
        async for each in paged(
            self._connection,
            self._connection.identity.ListAuditEntries,
            request,
            lambda page: page.entries,
            page_size=_PAGE,
            limit=limit,
        ):
            yield each
