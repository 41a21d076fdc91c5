"""The way of calls over gRPC, and what blocks this thread.

`aio/_transport.py` is the same for asyncio. Everything above it is written once:
`client/make_asyncio.py` makes its form for asyncio.
"""

import threading
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

from google.protobuf.message import Message

from talweg.client._address import ServerAddress

if TYPE_CHECKING:
    import grpc

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

_LARGEST_RESPONSE: Final = 256 * 1024 * 1024
# gRPC servers treat more frequent pings as abuse.
_KEEPALIVE_MS: Final = 330_000


def channel_options(server: ServerAddress) -> list[tuple[str, int]]:
    """Return the options of a channel: sizes, reconnection, keepalive, no proxy to loopback."""
    return [
        ("grpc.max_receive_message_length", _LARGEST_RESPONSE),
        ("grpc.initial_reconnect_backoff_ms", 50),
        ("grpc.min_reconnect_backoff_ms", 50),
        ("grpc.max_reconnect_backoff_ms", 1000),
        ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
        ("grpc.enable_http_proxy", 1 if server.proxy() else 0),
    ]


class Transport:
    """A channel, and the calls over it. Thread-safe."""

    def __init__(self, server: ServerAddress) -> None:
        """Open a channel; nothing is sent before the first call."""
        import grpc

        options, secured = channel_options(server), server.security.channel_credentials()
        self.channel = (
            grpc.insecure_channel(server.address, options=options)
            if secured is None
            else grpc.secure_channel(server.address, secured, options=options)
        )
        self._metadata = server.security.metadata
        self._closed = threading.Event()

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed.is_set()

    def close(self) -> None:
        """Close the channel; running calls, streams and pauses end."""
        self._closed.set()
        self.channel.close()

    def pause(self, seconds: float) -> bool:
        """Wait; return False, at once, where the channel is closed."""
        return not self._closed.wait(seconds)

    def unary(
        self,
        method: "grpc.UnaryUnaryMultiCallable[Request, Response]",
        request: Request,
        timeout: float,
    ) -> Response:
        """Send a request, and return the response.

        Raises:
            grpc.RpcError: The call failed.
        """
        return method(request, timeout=timeout, metadata=self._metadata)

    def send(
        self,
        method: "grpc.StreamUnaryMultiCallable[Request, Response]",
        messages: Iterator[Request],
    ) -> Response:
        """Send a stream of messages, and return the response.

        Raises:
            grpc.RpcError: The call failed.
        """
        return method(messages, metadata=self._metadata)

    def stream(
        self,
        method: "grpc.UnaryStreamMultiCallable[Request, Response]",
        request: Request,
        timeout: float | None = None,
    ) -> Generator[Response]:
        """Yield the responses to a request; the call is cancelled where the caller leaves.

        Raises:
            grpc.RpcError: The call failed.
        """
        stream = method(request, timeout=timeout, metadata=self._metadata)
        try:
            yield from stream
        finally:
            stream.cancel()

    def work(
        self,
        function: Callable[Arguments, Result],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Result:
        """Do work of this machine that takes long, such as reading a large file."""
        return function(*args, **kwargs)
