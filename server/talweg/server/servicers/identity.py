"""IdentityService over gRPC."""

from datetime import UTC
from typing import Any

from talweg.server.errors import InvalidRequest
from talweg.server.identity.caller import current_caller
from talweg.server.identity.methods import Role
from talweg.server.servicers.convert import duration_value
from talweg.server.services.audit import AuditLog
from talweg.server.services.quotas import ProjectUse, QuotaService
from talweg.server.services.tokens import TokenRequest, TokenService
from talweg.server.store.record.clock import to_timestamp
from talweg.server.store.record.rows import AuditRow, ProjectRow, TokenRow
from talweg.v1 import identity_pb2 as pb
from talweg.v1.identity_pb2_grpc import IdentityServiceServicer

_LOCAL = "local"


class IdentityServicer(IdentityServiceServicer):
    """What admins use."""

    def __init__(self, tokens: TokenService, quotas: QuotaService, audit: AuditLog) -> None:
        """Keep the services.

        Args:
            tokens: Creates, lists and revokes tokens.
            quotas: What projects may have.
            audit: Who changed what.
        """
        self._tokens = tokens
        self._quotas = quotas
        self._audit = audit

    async def GetCaller(  # noqa: D102 - documented in the proto
        self, request: pb.GetCallerRequest, context: Any
    ) -> pb.Caller:
        caller = current_caller()
        return pb.Caller(
            token=_token_name(caller.token),
            description=caller.description,
            role=pb.Role.Type.ValueType(caller.role),
            project=caller.project,
            projects=[caller.projects],
            authenticated=caller.is_authenticated,
        )

    async def CreateToken(  # noqa: D102
        self, request: pb.CreateTokenRequest, context: Any
    ) -> pb.CreateTokenResponse:
        if request.role not in [role.value for role in Role]:
            allowed = ", ".join(role.name for role in Role)
            raise InvalidRequest.of("role", f"must be one of {allowed}, but got {request.role}")
        lifetime = None
        if request.HasField("time_to_live"):
            lifetime = duration_value(request.time_to_live, field="time_to_live")
        row, secret = await self._tokens.create(
            TokenRequest(
                description=request.description,
                role=Role(request.role),
                project=request.project,
                queues=request.queues,
                time_to_live=lifetime,
            ),
            caller=current_caller(),
        )
        return pb.CreateTokenResponse(token=_token_message(row), secret=secret)

    async def ListTokens(  # noqa: D102
        self, request: pb.ListTokensRequest, context: Any
    ) -> pb.ListTokensResponse:
        rows = await self._tokens.list_newest(
            caller=current_caller(), show_invalid=request.show_invalid
        )
        return pb.ListTokensResponse(tokens=map(_token_message, rows))

    async def RevokeToken(  # noqa: D102
        self, request: pb.RevokeTokenRequest, context: Any
    ) -> pb.Token:
        return _token_message(await self._tokens.revoke(request.name, caller=current_caller()))

    async def ListProjects(  # noqa: D102
        self, request: pb.ListProjectsRequest, context: Any
    ) -> pb.ListProjectsResponse:
        uses = await self._quotas.projects(caller=current_caller())
        return pb.ListProjectsResponse(projects=map(_project_message, uses))

    async def UpdateProject(  # noqa: D102
        self, request: pb.UpdateProjectRequest, context: Any
    ) -> pb.Project:
        quotas = {field.name: value for field, value in request.quotas.ListFields()}
        use = await self._quotas.update(
            ProjectRow(request.name, **quotas), caller=current_caller()
        )
        return _project_message(use)

    async def ListAuditEntries(  # noqa: D102
        self, request: pb.ListAuditEntriesRequest, context: Any
    ) -> pb.ListAuditEntriesResponse:
        caller, since = current_caller(), None
        if request.HasField("since"):
            try:
                since = request.since.ToDatetime(tzinfo=UTC)
            except ValueError as exc:
                raise InvalidRequest.of("since", "must be a time from year 1 to 9999") from exc
        page = await self._audit.page(
            project=None if caller.sees_all else caller.projects,
            since=since,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return pb.ListAuditEntriesResponse(
            entries=map(_entry_message, page.entries), next_page_token=page.next_token
        )


def _project_message(use: ProjectUse) -> pb.Project:
    return pb.Project(
        name=use.quotas.name,
        quotas=pb.Quotas(
            max_open_jobs=use.quotas.max_open_jobs,
            max_running_jobs=use.quotas.max_running_jobs,
            max_stored_bytes=use.quotas.max_stored_bytes,
            max_gpu_hours=use.quotas.max_gpu_hours,
        ),
        open_jobs=use.open_jobs,
        running_jobs=use.running_jobs,
        stored_bytes=use.stored_bytes,
        gpu_hours=use.gpu_hours,
    )


def _token_name(id_: str) -> str:
    # The user of an issuer's token has a whole name.
    return f"tokens/{id_}" if id_ and "/" not in id_ else id_


def _token_message(row: TokenRow) -> pb.Token:
    message = pb.Token(
        name=_token_name(row.id),
        description=row.description,
        role=pb.Role.Type.ValueType(row.role),
        project=row.project,
        queues=filter(None, row.queues.split(",")),
        create_time=to_timestamp(row.create_time),
        creator=_token_name(row.creator) or _LOCAL,
    )
    if row.expire_time is not None:
        message.expire_time.CopyFrom(to_timestamp(row.expire_time))
    if row.revoke_time is not None:
        message.revoke_time.CopyFrom(to_timestamp(row.revoke_time))
    return message


def _entry_message(row: AuditRow) -> pb.AuditEntry:
    return pb.AuditEntry(
        time=to_timestamp(row.time),
        token=_token_name(row.token),
        description=row.description,
        project=row.project,
        method=row.method,
        resource=row.resource,
        peer=row.peer,
        status=row.status,
    )
