"""Finds out who a call is from, by the token in its metadata."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import replace
from typing import Protocol

from sqlalchemy import Connection, select

from talweg.server.errors import InvalidRequest, PermissionDenied, Unauthenticated
from talweg.server.identity.caller import UNKNOWN, Caller, checked_project
from talweg.server.identity.methods import Role
from talweg.server.identity.tokens import TokenParts, hashed, is_same, parse_token
from talweg.server.store.identity import tokens
from talweg.server.store.record.clock import current_time
from talweg.server.store.record.database import Database
from talweg.server.store.record.rows import TokenRow
from talweg.spec.identity.projects import (
    ALL_PROJECTS,
    DEFAULT_PROJECT,
    PROJECT_METADATA,
)
from talweg.spec.identity.secrets import TOKEN_METADATA

# A token that another server or a local command has revoked is refused after so long.
_CACHED_S = 1.0
_MOST_CACHED = 10_000
_MOST_LOOKING_UP = 2
_SCHEME = "bearer "

Metadata = Iterable[tuple[str, str | bytes]]


class Authenticator(Protocol):
    """What finds out who a call is from."""

    @property
    def duties(self) -> Sequence[Callable[[], Coroutine[None, None, None]]]:
        """What keeps up to date what it knows, for good."""
        ...

    async def caller(self, metadata: Metadata) -> Caller:
        """Return who a call is from.

        Args:
            metadata: Of the call.

        Raises:
            Unauthenticated: It carries no token, or none that holds.
            PermissionDenied: It asks for a project that its token is not for.
            InvalidRequest: It asks for what cannot be a project.
            Unavailable: Nobody knows now whether the token holds.
        """
        ...

    def forget(self, token: str) -> None:
        """Look a token up anew, since it was revoked.

        Args:
            token: Its id.
        """
        ...


class Issuer(Protocol):
    """What knows the tokens of somebody else, such as an OpenID Connect issuer."""

    def is_one(self, token: str) -> bool:
        """Return whether a token has the form of its tokens.

        Args:
            token: The token.
        """
        ...

    async def caller(self, token: str, *, project: str) -> Caller:
        """Return who a call is from.

        Args:
            token: Of such a form.
            project: What the call asks for; empty for none.

        Raises:
            Unauthenticated: The token does not hold.
            PermissionDenied: It opens nothing, or not that project.
            InvalidRequest: No project can have that name.
            Unavailable: Nobody knows now whether it holds.
        """
        ...

    async def run(self) -> None:
        """Keep up to date by what tokens are known, for good."""
        ...


class NoAuthentication:
    """Of a server that asks for no tokens: whoever reaches it may do everything."""

    duties = ()

    async def caller(self, metadata: Metadata) -> Caller:
        """Return an admin of all projects.

        Raises:
            InvalidRequest: The call asks for a project, which would not be kept apart.
        """
        project = next((value for key, value in metadata if key == PROJECT_METADATA), "")
        if project not in ("", DEFAULT_PROJECT):
            raise InvalidRequest.of(
                PROJECT_METADATA,
                "must not be sent to a server that asks for no tokens: it keeps no projects apart "
                "(TALWEG_AUTHENTICATION=token)",
            )
        return UNKNOWN

    def forget(self, token: str) -> None:
        """Do nothing."""


class TokenAuthentication:
    """Knows tokens of the record, those in files of the server's own, and those of an issuer."""

    def __init__(
        self,
        database: Database,
        *,
        key: str,
        files: dict[Role, str],
        issuer: Issuer | None = None,
    ) -> None:
        """Keep what tokens are compared with.

        Args:
            database: The record.
            key: By which the record's hashes are made.
            files: By role, a token that holds without the record.
            issuer: Whose tokens hold too.
        """
        self._issuer = issuer
        self._database = database
        self._key = key
        self._of_files = {
            hashed(token, key=key): Caller(role, description=f"{role.name.lower()} token file")
            for role, token in files.items()
        }
        self._known: dict[str, tuple[float, Caller]] = {}
        self._looking_up = asyncio.Semaphore(_MOST_LOOKING_UP)

    @property
    def duties(self) -> Sequence[Callable[[], Coroutine[None, None, None]]]:
        """What keeps the issuer's keys up to date."""
        return () if self._issuer is None else (self._issuer.run,)

    async def caller(self, metadata: Metadata) -> Caller:  # noqa: D102 - of the protocol
        token, project = _read(metadata)
        if self._issuer is not None and self._issuer.is_one(token):
            return await self._issuer.caller(token, project=project)
        caller = await self._holder(token)
        if not project or project == caller.project:
            return caller
        if not caller.sees_all:
            raise PermissionDenied(
                f"the token is for project {caller.projects!r}, but the call asks for {project!r}"
            )
        return replace(caller, project=checked_project(project))

    def forget(self, token: str) -> None:  # noqa: D102 - of the protocol
        self._known = {
            text: known for text, known in self._known.items() if known[1].token != token
        }

    async def _holder(self, text: str) -> Caller:
        now = time.monotonic()
        known = self._known.get(text)
        if known is not None and known[0] > now:
            return known[1]
        parts = parse_token(text)
        if parts is None:
            digest = hashed(text, key=self._key)
            for other, caller in self._of_files.items():
                if is_same(digest, other):
                    return caller
            raise _unknown_token()
        # Strangers who try tokens must not take all of the record's readers.
        async with self._looking_up:
            caller = await self._database.reading(self._look_up, parts)
        if len(self._known) >= _MOST_CACHED:
            self._known.clear()
        self._known[text] = (now + _CACHED_S, caller)
        return caller

    def _look_up(self, connection: Connection, parts: TokenParts) -> Caller:
        row = tokens.get(connection, parts.id)
        if row is None or not is_same(row.secret_hash, hashed(parts.secret, key=self._key)):
            raise _unknown_token()
        if row.revoke_time is not None:
            raise Unauthenticated("the token was revoked; ask an admin for a new one")
        now = connection.scalar(select(current_time())) or 0
        if row.expire_time is not None and row.expire_time <= now:
            raise Unauthenticated("the token has expired; ask an admin for a new one")
        return _caller(row)


def _unknown_token() -> Unauthenticated:
    return Unauthenticated(
        "the server does not know the token; ask an admin for a new one (talweg token create)"
    )


def _caller(row: TokenRow) -> Caller:
    return Caller(
        Role(row.role),
        project=DEFAULT_PROJECT if row.project == ALL_PROJECTS else row.project,
        projects=row.project,
        queues=frozenset(filter(None, row.queues.split(","))),
        token=row.id,
        description=row.description,
    )


def _read(metadata: Metadata) -> tuple[str, str]:
    """Return the token of a call, and the project that it asks for."""
    token, project = "", ""
    for key, value in metadata:
        if key == TOKEN_METADATA and isinstance(value, str):
            if not value.lower().startswith(_SCHEME):
                raise Unauthenticated(f"{TOKEN_METADATA} must be of the form: Bearer TOKEN")
            token = value[len(_SCHEME) :].strip()
        elif key == PROJECT_METADATA and isinstance(value, str):
            project = value
    if not token:
        raise Unauthenticated(
            "the server asks for a token, and the call has none: set TALWEG_TOKEN, or run "
            "`talweg login`"
        )
    return token, project
