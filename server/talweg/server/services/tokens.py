"""Creates, lists and revokes tokens."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Connection, select

from talweg.server.errors import FieldProblem, InvalidRequest, PermissionDenied, TokenNotFound
from talweg.server.identity.authentication import Authenticator
from talweg.server.identity.caller import Caller
from talweg.server.identity.methods import Role
from talweg.server.identity.tokens import hashed, new_token
from talweg.server.services.arguments import MAX_QUEUE_CHARS, text
from talweg.server.store.identity import tokens
from talweg.server.store.record.clock import current_time, microseconds
from talweg.server.store.record.database import Database, Transaction
from talweg.server.store.record.rows import TokenRow
from talweg.spec.identity.projects import ALL_PROJECTS, PROJECT_RULE, is_project

_MOST_DESCRIPTION_CHARS = 200
_MOST_QUEUES = 100
_MOST_LISTED = 1000
_LONGEST = timedelta(days=36_500)
_SHORTEST = timedelta(seconds=1)
_NAME = re.compile(r"tokens/([0-9a-f]{16})")


@dataclass(frozen=True)
class TokenRequest:
    """What a token is to be."""

    description: str
    """For people: what it is for."""

    role: Role
    """What its holder may do."""

    project: str
    """The project that it is for; "*" stands for all."""

    queues: Sequence[str] = ()
    """The queues that a worker's token may serve; all if empty."""

    time_to_live: timedelta | None = None
    """How long it holds; for good if None."""


class TokenService:
    """Creates, lists and revokes tokens."""

    def __init__(self, database: Database, authenticator: Authenticator, *, key: str) -> None:
        """Keep the record.

        Args:
            database: The record.
            authenticator: Is told of tokens that are revoked.
            key: By which secrets are hashed; empty where the server asks for no tokens.
        """
        self._database = database
        self._authenticator = authenticator
        self._key = key

    async def create(self, request: TokenRequest, *, caller: Caller) -> tuple[TokenRow, str]:
        """Create a token.

        Args:
            request: What it is to be.
            caller: Who creates it.

        Returns:
            Its row, and the token itself, which nobody can read again.

        Raises:
            InvalidRequest: The request is at fault.
            PermissionDenied: It is for a project that the caller does not administer, or the
                server asks for no tokens.
        """
        if not self._key:
            raise PermissionDenied(
                "the server asks for no tokens; start it with TALWEG_AUTHENTICATION=token"
            )
        _check(request)
        if not caller.sees_all and request.project != caller.projects:
            raise PermissionDenied(
                f"an admin of project {caller.projects!r} creates tokens for it alone, but the "
                f"request is for {request.project!r}"
            )
        return await self._database.writing(
            create_token, request, key=self._key, creator=caller.token
        )

    async def list_newest(self, *, caller: Caller, show_invalid: bool) -> Sequence[TokenRow]:
        """Return the tokens of the projects that the caller administers, the newest first.

        Args:
            caller: Who asks.
            show_invalid: Revoked and expired ones too.
        """

        def read(connection: Connection) -> Sequence[TokenRow]:
            now = connection.scalar(select(current_time()))
            return tokens.list_newest(
                connection,
                project=None if caller.sees_all else caller.projects,
                now=None if show_invalid else now,
                limit=_MOST_LISTED,
            )

        return await self._database.reading(read)

    async def revoke(self, name: str, *, caller: Caller) -> TokenRow:
        """Revoke a token.

        Args:
            name: tokens/{id}.
            caller: Who does.

        Raises:
            InvalidRequest: It is not the name of a token.
            TokenNotFound: There is none, or not in a project that the caller administers.
        """
        match = _NAME.fullmatch(name)
        if match is None:
            raise InvalidRequest.of("name", f"must be tokens/ID, but got {name[:100]!r}")

        def write(tx: Transaction) -> TokenRow:
            row = tokens.get(tx.connection, match[1])
            if row is None or not (caller.sees_all or row.project == caller.projects):
                raise TokenNotFound(f"there is no token {name}")
            tokens.revoke(tx, row.id)
            row = tokens.get(tx.connection, row.id)
            assert row is not None
            return row

        row = await self._database.writing(write)
        self._authenticator.forget(row.id)
        return row


def create_token(
    tx: Transaction, request: TokenRequest, *, key: str, creator: str
) -> tuple[TokenRow, str]:
    """Create a token in the record.

    Args:
        tx: A transaction.
        request: What it is to be; checked.
        key: By which its secret is hashed.
        creator: The id of the token that creates it; empty for a local command.

    Returns:
        Its row, and the token itself.
    """
    token = new_token()
    expires = request.time_to_live
    row = TokenRow(
        id=token.id,
        secret_hash=hashed(token.secret, key=key),
        role=request.role,
        project=request.project,
        queues=",".join(sorted(set(request.queues))),
        description=request.description,
        creator=creator,
        create_time=tx.now,
        expire_time=None if expires is None else tx.now + microseconds(expires),
    )
    tokens.add(tx, row)
    return row, token.text


def _check(request: TokenRequest) -> None:
    problems = []
    text(request.description, field="description", most=_MOST_DESCRIPTION_CHARS)
    if request.project != ALL_PROJECTS and not is_project(request.project):
        problems.append(
            FieldProblem(
                "project", f'{PROJECT_RULE}, or "*" for all, but got {request.project[:60]!r}'
            )
        )
    if request.queues and request.role != Role.WORKER:
        problems.append(FieldProblem("queues", "are for tokens of role WORKER alone"))
    if len(request.queues) > _MOST_QUEUES:
        problems.append(
            FieldProblem("queues", f"must be <= {_MOST_QUEUES}, but are {len(request.queues)}")
        )
    for index, queue in enumerate(request.queues[:_MOST_QUEUES]):
        text(queue, field=f"queues[{index}]", most=MAX_QUEUE_CHARS, required=True)
        if "," in queue:
            problems.append(FieldProblem(f"queues[{index}]", "must not contain a comma"))
    lifetime = request.time_to_live
    if lifetime is not None and not _SHORTEST <= lifetime <= _LONGEST:
        problems.append(FieldProblem("time_to_live", "must be >= 1 second and <= 36,500 days"))
    if problems:
        described = "; ".join(f"{each.field}: {each.description}" for each in problems)
        raise InvalidRequest(described, fields=problems)
