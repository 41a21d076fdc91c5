"""Turns what servicers raise into statuses."""

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError
from google.rpc import status_pb2

from talweg.server.errors import InvalidRequest, ServerError
from talweg.server.limits import too_large
from talweg.server.statuses import INTERNAL, code_of, to_status

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
        if handler is None:
            # There is no such method.
            return None  # type: ignore[return-value]
        method = handler_call_details.method
        read, write = handler.request_deserializer, handler.response_serializer
        if handler.request_streaming and not handler.response_streaming:
            wrapped: Any = grpc.stream_unary_rpc_method_handler(
                _stream_unary(handler.stream_unary, method), _checked(read, method), write
            )
        elif handler.request_streaming:
            # Only reflection's own, which refuses an empty request in its answer.
            wrapped = grpc.stream_stream_rpc_method_handler(
                handler.stream_stream, _readable_or_empty(read), write
            )
        elif handler.response_streaming:
            wrapped = grpc.unary_stream_rpc_method_handler(
                _stream(handler.unary_stream, method), _checked(read, method), write
            )
        else:
            wrapped = grpc.unary_unary_rpc_method_handler(
                _unary(handler.unary_unary, method), _checked(read, method), write
            )
        return wrapped  # type: ignore[no-any-return]


Read = Callable[[bytes], Any]


def _checked(read: Read, method: str) -> Read:
    """Return a deserializer that gives an error in place of a request that cannot be one.

    What a deserializer raises itself, gRPC logs with a traceback, and tells the caller.
    """

    def checked(data: bytes) -> Any:
        try:
            return too_large(method, len(data)) or read(data)
        except DecodeError as exc:
            return InvalidRequest(f"the request's bytes are no message of its type: {exc}")

    return checked


def _readable_or_empty(read: Read) -> Read:
    def checked(data: bytes) -> Any:
        try:
            return read(data)
        except DecodeError:
            return read(b"")

    return checked


def _taken(request: Any) -> Any:
    """Return a request, or raise the error that stands in its place."""
    if isinstance(request, ServerError):
        raise request
    return request


def _unary(
    behaviour: Callable[[Any, Context], Awaitable[Any]], method: str
) -> Callable[[Any, Context], Awaitable[Any]]:
    async def call(request: Any, context: Context) -> Any:
        try:
            return await behaviour(_taken(request), context)
        except Exception as exc:
            status = _status_of(exc, method)
        # Outside the `except`, since abort works by raising.
        await _abort(context, status)

    return call


def _stream_unary(
    behaviour: Callable[[Any, Context], Awaitable[Any]], method: str
) -> Callable[[Any, Context], Awaitable[Any]]:
    async def call(requests: AsyncIterator[Any], context: Context) -> Any:
        try:
            async with aclosing(_each_taken(requests)) as taken:
                return await behaviour(taken, context)
        except Exception as exc:
            status = _status_of(exc, method)
        await _abort(context, status)

    return call


async def _each_taken(requests: AsyncIterator[Any]) -> AsyncGenerator[Any]:
    async for request in requests:
        yield _taken(request)


def _stream(
    behaviour: Callable[[Any, Context], Any], method: str
) -> Callable[[Any, Context], Awaitable[None]]:
    # A coroutine that writes, and not a generator: a caller who leaves cancels it wherever it
    # waits, so that what it holds is freed at once and not by the garbage collector.
    async def call(request: Any, context: Context) -> None:
        try:
            responses = behaviour(_taken(request), context)
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
    await context.abort(code_of(status), status.message, ((_DETAILS, status.SerializeToString()),))
