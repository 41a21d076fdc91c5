"""Turns what servicers raise into statuses."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError
from google.rpc import status_pb2

from talweg.server.calls.statuses import INTERNAL, code_of, to_status
from talweg.server.concurrency.threads import as_process_limit
from talweg.server.errors import CallTooLong, InvalidRequest, ServerError, SilentCaller, SlowReader
from talweg.server.limits.connections import too_large
from talweg.server.limits.under_way import CallLimits, CallsUnderWay, Patience
from talweg.spec.refusals import DETAILS

# As text, since grpc's classes are generic in their stubs alone.
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

log = logging.getLogger(__name__)


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Maps domain errors by the table, and anything else to INTERNAL with nothing in it.

    An unforeseen error's text may hold a password or a path, so it goes to the log alone. What
    callers may take by the number and the length of their calls is held here too, so that its
    errors are told as all others.
    """

    def __init__(self, limits: CallLimits | None = None) -> None:
        """Begin without calls.

        Args:
            limits: What callers may take.
        """
        self._calls = CallsUnderWay(limits or CallLimits())

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
                self._stream_unary(handler.stream_unary, method), _checked(read, method), write
            )
        elif handler.request_streaming:
            # Only reflection's own, which refuses an empty request in its answer.
            wrapped = grpc.stream_stream_rpc_method_handler(
                handler.stream_stream, _readable_or_empty(read), write
            )
        elif handler.response_streaming:
            wrapped = grpc.unary_stream_rpc_method_handler(
                self._stream(handler.unary_stream, method), _checked(read, method), write
            )
        else:
            wrapped = grpc.unary_unary_rpc_method_handler(
                self._unary(handler.unary_unary, method), _checked(read, method), write
            )
        return wrapped  # type: ignore[no-any-return]

    def _unary(
        self, behaviour: Callable[[Any, Context], Awaitable[Any]], method: str
    ) -> Callable[[Any, Context], Awaitable[Any]]:
        most_s = self._calls.limits.unary.total_seconds()

        async def call(request: Any, context: Context) -> Any:
            limit = asyncio.timeout(most_s)
            try:
                with self._calls.counted(context.peer(), method):
                    async with limit:
                        return await behaviour(_taken(request), context)
            except Exception as exc:
                status = _status_of(_too_long(most_s) if limit.expired() else exc, method)
            # Outside the `except`, since abort works by raising.
            await _abort(context, status)

        return call

    def _stream_unary(
        self, behaviour: Callable[[Any, Context], Awaitable[Any]], method: str
    ) -> Callable[[Any, Context], Awaitable[Any]]:
        silent_s = self._calls.limits.silent.total_seconds()

        async def call(requests: AsyncIterator[Any], context: Context) -> Any:
            try:
                with self._calls.counted(context.peer(), method):
                    async with aclosing(_each_taken(requests, silent_s)) as taken:
                        return await behaviour(taken, context)
            except Exception as exc:
                status = _status_of(exc, method)
            await _abort(context, status)

        return call

    def _stream(
        self, behaviour: Callable[[Any, Context], Any], method: str
    ) -> Callable[[Any, Context], Awaitable[None]]:
        slow = self._calls.limits.slow

        # A coroutine that writes, and not a generator: a caller who leaves cancels it wherever it
        # waits, so that what it holds is freed at once and not by the garbage collector.
        async def answer(request: Any, context: Context) -> None:
            patience = Patience(slow)
            try:
                responses = behaviour(_taken(request), context)
                if not isinstance(responses, AsyncGenerator):
                    return await responses  # type: ignore[no-any-return]
                async with aclosing(responses):
                    async for response in responses:
                        patience.begin()
                        await context.write(response)
                        patience.end()
                return None
            except asyncio.CancelledError:
                if not patience.is_at_end:
                    raise
                serving = asyncio.current_task()
                assert serving is not None, "gRPC serves each call in a task"
                serving.uncancel()
                status = to_status(_slow_reader(patience.seconds))
            except Exception as exc:
                status = _status_of(exc, method)
            finally:
                patience.close()
            # A slow reader takes this too when it likes, and counts as long.
            await _abort(context, status)

        async def call(request: Any, context: Context) -> None:
            try:
                with self._calls.counted(context.peer(), method):
                    return await answer(request, context)
            except ServerError as exc:
                status = _status_of(exc, method)
            await _abort(context, status)

        return call


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


async def _each_taken(requests: AsyncIterator[Any], silent_s: float) -> AsyncGenerator[Any]:
    following = aiter(requests)
    while True:
        limit = asyncio.timeout(silent_s)
        try:
            async with limit:
                request = await anext(following)
        except StopAsyncIteration:
            return
        except TimeoutError as exc:
            if not limit.expired():
                raise
            raise SilentCaller(
                f"the next message of the stream did not come within {silent_s:g} s: go on from "
                "where it stands"
            ) from exc
        yield _taken(request)


def _slow_reader(seconds: float) -> SlowReader:
    return SlowReader(
        f"the responses of the stream were not taken within {seconds:g} s: open it again from the "
        "last one that you have, such as after the last event's cursor"
    )


def _too_long(most_s: float) -> CallTooLong:
    return CallTooLong(f"the call took longer than {most_s:g} s and was cancelled: ask for less")


def _status_of(error: Exception, method: str) -> status_pb2.Status:
    if isinstance(error, grpc.aio.AbortError):
        raise error
    if isinstance(error, ServerError):
        return to_status(error)
    if (refused := as_process_limit(error)) is not None:
        log.error("%s: %s: %s", method, error, refused)
        return to_status(refused)
    log.error("%s failed", method, exc_info=error)
    return INTERNAL


async def _abort(context: Context, status: status_pb2.Status) -> None:
    await context.abort(code_of(status), status.message, ((DETAILS, status.SerializeToString()),))
