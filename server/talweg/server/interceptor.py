"""Turns what servicers raise into statuses."""

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeAlias

import grpc
from google.rpc import status_pb2

from talweg.server.errors import ServerError
from talweg.server.statuses import INTERNAL, to_status

# As text, since grpc's classes are generic in their stubs alone.
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

log = logging.getLogger(__name__)

_DETAILS = "grpc-status-details-bin"


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Maps domain errors by the table, and anything else to INTERNAL with nothing in it.

    An unforeseen error's text may hold a password or a path, so it goes to the log alone.
    """

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable["Handler | None"]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "Handler":
        """Wrap the method that the call is for."""
        handler: Any = await continuation(handler_call_details)
        if handler is None or handler.request_streaming:
            # None: there is no such method. Of streams in there is only reflection's own.
            return handler  # type: ignore[no-any-return]
        method = handler_call_details.method
        if handler.response_streaming:
            wrapped: Any = grpc.unary_stream_rpc_method_handler(
                _stream(handler.unary_stream, method),
                handler.request_deserializer,
                handler.response_serializer,
            )
        else:
            wrapped = grpc.unary_unary_rpc_method_handler(
                _unary(handler.unary_unary, method),
                handler.request_deserializer,
                handler.response_serializer,
            )
        return wrapped  # type: ignore[no-any-return]


def _unary(
    behaviour: Callable[[Any, Context], Awaitable[Any]], method: str
) -> Callable[[Any, Context], Awaitable[Any]]:
    async def call(request: Any, context: Context) -> Any:
        try:
            return await behaviour(request, context)
        except Exception as exc:
            status = _status_of(exc, method)
        # Outside the `except`, since abort works by raising.
        await _abort(context, status)

    return call


def _stream(
    behaviour: Callable[[Any, Context], Any], method: str
) -> Callable[[Any, Context], Awaitable[None]]:
    # A coroutine that writes, and not a generator: a caller who leaves cancels it wherever it
    # waits, so that what it holds is freed at once and not by the garbage collector.
    async def call(request: Any, context: Context) -> None:
        try:
            responses = behaviour(request, context)
            if not isinstance(responses, AsyncGenerator):
                return await responses  # type: ignore[no-any-return]
            async with aclosing(responses):
                async for response in responses:
                    await context.write(response)
            return None
        except Exception as exc:
            status = _status_of(exc, method)
        await _abort(context, status)

    return call


def _status_of(error: Exception, method: str) -> status_pb2.Status:
    if isinstance(error, grpc.aio.AbortError):
        raise error
    if isinstance(error, ServerError):
        return to_status(error)
    log.error("%s failed", method, exc_info=error)
    return INTERNAL


async def _abort(context: Context, status: status_pb2.Status) -> None:
    code = next(code for code in grpc.StatusCode if code.value[0] == status.code)
    await context.abort(code, status.message, ((_DETAILS, status.SerializeToString()),))
