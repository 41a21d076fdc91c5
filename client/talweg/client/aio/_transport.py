"""The way of calls over grpc.aio, and what keeps a task of asyncio waiting.

A task that is cancelled while it waits here cancels its call at the server at once: gRPC does so
for calls, and `stream` wherever its caller leaves.
"""

from collections.abc import AsyncGenerator, Callable, Iterator
from typing import TYPE_CHECKING

from talweg.client._address import ServerAddress
from talweg.client._transport import Arguments, Request, Response, Result, channel_options

if TYPE_CHECKING:
    import grpc


class Transport:
    """A channel, and the calls over it; of one event loop."""

    def __init__(self, server: ServerAddress) -> None:
        """Open a channel; nothing is sent before the first call.

        Raises:
            RuntimeError: No event loop runs in this thread.
        """
        import asyncio

        import grpc

        try:
            asyncio.get_running_loop()
        except RuntimeError as error:
            raise RuntimeError(
                "AsyncClient belongs to an event loop, but none is running here: make it inside a "
                "coroutine, such as the one that asyncio.run starts"
            ) from error
        options, secured = channel_options(server), server.security.channel_credentials()
        self.channel = (
            grpc.aio.insecure_channel(server.address, options=options)
            if secured is None
            else grpc.aio.secure_channel(server.address, secured, options=options)
        )
        self._metadata = server.security.metadata
        self._closed = asyncio.Event()

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed.is_set()

    async def close(self) -> None:
        """Close the channel; running calls, streams and pauses end."""
        self._closed.set()
        await self.channel.close()

    async def pause(self, seconds: float) -> bool:
        """Wait; return False, at once, where the channel is closed."""
        import asyncio

        try:
            await asyncio.wait_for(self._closed.wait(), seconds)
        except TimeoutError:
            return True
        return False

    async def unary(
        self,
        method: "grpc.aio.UnaryUnaryMultiCallable[Request, Response]",
        request: Request,
        timeout: float,
    ) -> Response:
        """Send a request, and return the response.

        Raises:
            grpc.RpcError: The call failed.
        """
        import asyncio

        try:
            return await method(request, timeout=timeout, metadata=self._metadata)
        except asyncio.CancelledError as error:
            if _is_task_cancelled():
                raise
            raise _cancelled_call() from error

    async def send(
        self,
        method: "grpc.aio.StreamUnaryMultiCallable[Request, Response]",
        messages: Iterator[Request],
    ) -> Response:
        """Send a stream of messages, and return the response.

        Raises:
            grpc.RpcError: The call failed.
        """
        import asyncio

        try:
            return await method(messages, metadata=self._metadata)
        except asyncio.CancelledError as error:
            if _is_task_cancelled():
                raise
            raise _cancelled_call() from error

    async def stream(
        self,
        method: "grpc.aio.UnaryStreamMultiCallable[Request, Response]",
        request: Request,
        timeout: float | None = None,
    ) -> AsyncGenerator[Response]:
        """Yield the responses to a request; the call is cancelled where the caller leaves.

        Raises:
            grpc.RpcError: The call failed.
        """
        import asyncio

        stream = method(request, timeout=timeout, metadata=self._metadata)
        try:
            async for response in stream:
                yield response
        except asyncio.CancelledError as error:
            if _is_task_cancelled():
                raise
            raise _cancelled_call() from error
        finally:
            stream.cancel()

    async def work(
        self,
        function: Callable[Arguments, Result],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Result:
        """Do work of this machine that takes long in a thread, such as reading a large file."""
        import asyncio

        return await asyncio.to_thread(function, *args, **kwargs)


def _is_task_cancelled() -> bool:
    """Tell whether somebody has cancelled the task that runs.

    gRPC raises the same where the channel was closed, or what is sent could not be read.
    """
    import asyncio

    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def _cancelled_call() -> "grpc.RpcError":
    """Return the error of a call that ended on this side, though its task goes on."""
    import grpc

    return grpc.aio.AioRpcError(
        grpc.StatusCode.CANCELLED,
        grpc.aio.Metadata(),
        grpc.aio.Metadata(),
        "the call was cancelled on this side",
    )
