"""Checks who a call is from and whether they may make it, and writes down what they changed."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import grpc

from talweg.server.calls.interceptor import Context, Handler
from talweg.server.calls.rates import RateLimiter
from talweg.server.calls.statuses import INTERNAL, code_of, to_status
from talweg.server.errors import PermissionDenied, RateLimited, ServerError, Unauthenticated
from talweg.server.identity.authentication import Authenticator, Metadata
from talweg.server.identity.caller import Caller, set_caller
from talweg.server.identity.methods import METHODS, Access, Role
from talweg.server.services.audit import AuditLog
from talweg.server.store.record.scope import set_project

log = logging.getLogger(__name__)

# A stranger who tries again and again must not fill the log.
_PAUSE_OF_LOG_S = 1.0
ASK_AGAIN_S = 10.0
"""How often the token of a stream's caller is looked at again, in seconds."""


class AccessInterceptor(grpc.aio.ServerInterceptor):
    """Refuses calls before their requests are read, by the one table of methods."""

    def __init__(self, authenticator: Authenticator, audit: AuditLog, rates: RateLimiter) -> None:
        """Keep what decides.

        Args:
            authenticator: Finds out who a call is from.
            audit: Where changes are written down.
            rates: Bounds how many calls a second a token may make.
        """
        self._rates = rates
        self._authenticator = authenticator
        self._audit = audit
        self._logged = 0.0

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable["Handler | None"]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "Handler":
        """Find the caller, and give a handler that serves or refuses the call."""
        handler: Any = await continuation(handler_call_details)
        if handler is None:
            # There is no such method.
            return None  # type: ignore[return-value]
        method = handler_call_details.method
        access = METHODS.get(method, Access())
        if access.is_public:
            return handler  # type: ignore[no-any-return]
        metadata = tuple(handler_call_details.invocation_metadata)
        caller: Caller | None = None
        try:
            caller = await self._authenticator.caller(metadata)
            check(method, access, caller)
            self._rates.take(caller, access)
        except PermissionDenied as exc:
            if access.is_audited and caller is not None:
                return _refusing(handler, exc, self._note_refusal(method, caller))
            if caller is None:
                self._log_refusal(method, exc)
            return _refusing(handler, exc)
        except (Unauthenticated, RateLimited) as exc:
            # Not in the audit log, which a caller must not fill.
            self._log_refusal(method, exc)
            return _refusing(handler, exc)
        except ServerError as exc:
            return _refusing(handler, exc)
        # The handler runs in this call's task.
        set_caller(caller)
        # A worker of all projects serves the jobs of all. A server without tokens keeps nothing
        # apart: whoever reaches it may do everything, and what is new is of the default project.
        serves_all = caller.role == Role.WORKER and caller.sees_all
        set_project(None if serves_all or not caller.is_authenticated else caller.project)
        if handler.response_streaming and caller.is_authenticated:
            return handler._replace(  # type: ignore[no-any-return]
                unary_stream=self._while_admitted(handler.unary_stream, metadata)
            )
        if not access.is_audited:
            return handler  # type: ignore[no-any-return]
        if handler.request_streaming:
            return handler._replace(  # type: ignore[no-any-return]
                stream_unary=self._audited(handler.stream_unary, method, caller)
            )
        return handler._replace(  # type: ignore[no-any-return]
            unary_unary=self._audited(handler.unary_unary, method, caller)
        )

    def _while_admitted(
        self, behaviour: Callable[[Any, Context], Any], metadata: Metadata
    ) -> Callable[[Any, Context], AsyncGenerator[Any]]:
        """Return a stream that ends once its caller's token holds no more."""

        async def call(request: Any, context: Context) -> AsyncGenerator[Any]:
            serving = asyncio.current_task()
            assert serving is not None, "gRPC serves each call in a task"
            guard = asyncio.create_task(self._refusal(metadata))

            def stop(_: "asyncio.Task[ServerError]") -> None:
                serving.cancel()

            guard.add_done_callback(stop)
            try:
                async with aclosing(behaviour(request, context)) as responses:
                    async for response in responses:
                        yield response
            except asyncio.CancelledError:
                if not guard.done() or guard.cancelled():
                    raise
                serving.uncancel()
                raise guard.result() from None
            finally:
                guard.remove_done_callback(stop)
                guard.cancel()

        return call

    async def _refusal(self, metadata: Metadata) -> ServerError:
        """Wait until a token holds no more, and return why."""
        while True:
            await asyncio.sleep(ASK_AGAIN_S)
            try:
                await self._authenticator.caller(metadata)
            except (Unauthenticated, PermissionDenied) as exc:
                return exc
            except ServerError:
                # The record is away, and nothing is known.
                continue

    def _log_refusal(self, method: str, error: ServerError) -> None:
        """Log a refusal of somebody who is no known caller, so in no project's audit log."""
        if time.monotonic() > self._logged + _PAUSE_OF_LOG_S:
            self._logged = time.monotonic()
            log.warning("a call of %s was refused: %s", method, error)

    def _note_refusal(self, method: str, caller: Caller) -> Callable[[str], None]:
        def note(peer: str) -> None:
            self._audit.add(
                caller,
                method=method.lstrip("/"),
                resource="",
                peer=peer,
                status=grpc.StatusCode.PERMISSION_DENIED.name,
            )

        return note

    def _audited(
        self, behaviour: Callable[[Any, Context], Awaitable[Any]], method: str, caller: Caller
    ) -> Callable[[Any, Context], Awaitable[Any]]:
        async def call(request: Any, context: Context) -> Any:
            response, status = None, "CANCELLED"
            try:
                response = await behaviour(request, context)
                status = "OK"
                return response
            except Exception as exc:
                status = _status_name(exc)
                raise
            finally:
                if not getattr(request, "validate_only", False):
                    self._audit.add(
                        caller,
                        method=method.lstrip("/"),
                        resource=_resource(request, response),
                        peer=context.peer(),
                        status=status,
                    )

        return call


def check(method: str, access: Access, caller: Caller) -> None:
    """Check whether a caller may call a method.

    Args:
        method: Its full name.
        access: Its entry in the table.
        caller: Who calls.

    Raises:
        PermissionDenied: The caller's role is none of those that may.
    """
    if not caller.is_authenticated or caller.role in access.roles:
        return
    allowed = " or ".join(role.name for role in sorted(access.roles)) or "nobody's"
    hint = (
        "a worker's token is for workers alone"
        if caller.role == Role.WORKER
        else "ask an admin for a token of that role"
    )
    raise PermissionDenied(
        f"{method.rpartition('/')[2]} takes a token of role {allowed}, but this one is of role "
        f"{caller.role.name}: {hint}"
    )


def _refusing(
    handler: Any, error: ServerError, note: Callable[[str], None] | None = None
) -> "Handler":
    """Return a handler of the same shape that refuses, without reading the request.

    Args:
        handler: The method's.
        error: What the caller is told.
        note: Called with the caller's address where the refusal is to be written down.
    """

    async def refuse(request: Any, context: Context) -> Any:
        if note is not None:
            note(context.peer())
        raise error

    def unread(data: bytes) -> bytes:
        return data

    # None has streams both ways but reflection, which is open to all.
    kind = "unary_unary"
    if handler.request_streaming:
        kind = "stream_unary"
    elif handler.response_streaming:
        kind = "unary_stream"
    return handler._replace(  # type: ignore[no-any-return]
        request_deserializer=unread, **{kind: refuse}
    )


def _status_name(error: Exception) -> str:
    return code_of(to_status(error) if isinstance(error, ServerError) else INTERNAL).name


def _resource(request: Any, response: Any) -> str:
    """Return the name of what a call was about, as far as it has one."""
    for message in (request, response):
        for path in ("name", "job.name", "sweep.name", "token.name"):
            value = message
            for part in path.split("."):
                value = getattr(value, part, None)
            if isinstance(value, str) and value:
                return value[:200]
    return ""
