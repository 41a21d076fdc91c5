"""The real server in the tests' own process, over real gRPC, with failures on request."""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import replace
from typing import Any, Final, Literal, TypeVar

import grpc

from talweg.server.errors import ServerError
from talweg.server.serving import Server
from talweg.server.settings import Settings
from talweg.v1.jobs_pb2 import WatchJobRequest

HOLD: Final = "hold"
"""In place of a failure: the call waits until it is cancelled."""
Failure = grpc.StatusCode | ServerError | Literal["hold"]
Context = Any
T = TypeVar("T")


class Faults(grpc.aio.ServerInterceptor):
    """Counts the calls, and makes those fail that a test names."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.cancelled: list[str] = []
        """The calls that ended because their client had left."""
        self.num_open = self.most_open = 0
        """Streams that are under way, and the most that ever were."""
        self.overlap = 0
        """So many events before the cursor are sent again, as a faulty server might."""
        self._failures: dict[str, deque[Failure | None]] = {}

    def fail_next(self, call: str, *failures: Failure | None) -> None:
        """Make the next calls fail, one after another; None stands for one that works.

        Args:
            call: A method; "after METHOD" for an answer that is lost once the work was done;
                "WatchJob event" for the events of its streams.
            failures: What the calls end with.
        """
        self._failures[call] = deque(failures)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await continuation(handler_call_details)
        if handler is None or handler.request_streaming:
            return handler
        method = handler_call_details.method.rpartition("/")[2]
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(
                self._stream(handler.unary_stream, method),
                handler.request_deserializer,
                handler.response_serializer,
            )
        return grpc.unary_unary_rpc_method_handler(
            self._unary(handler.unary_unary, method),
            handler.request_deserializer,
            handler.response_serializer,
        )

    def _unary(self, behaviour: Callable[[Any, Context], Awaitable[Any]], method: str) -> Any:
        async def call(request: Any, context: Context) -> Any:
            self.calls.append(method)
            with self._noting(method):
                await self._fail(method, context)
                response = await behaviour(request, context)
            await self._fail(f"after {method}", context)
            return response

        return call

    def _stream(self, behaviour: Callable[[Any, Context], Any], method: str) -> Any:
        async def call(request: Any, context: Context) -> AsyncGenerator[Any]:
            self.calls.append(method)
            await self._fail(method, context)
            if isinstance(request, WatchJobRequest):
                request.after_cursor = max(0, request.after_cursor - self.overlap)
            self.num_open += 1
            self.most_open = max(self.most_open, self.num_open)
            try:
                with self._noting(method):
                    async with aclosing(behaviour(request, context)) as responses:
                        async for response in responses:
                            await self._fail(f"{method} event", context)
                            yield response
            finally:
                self.num_open -= 1

        return call

    @contextmanager
    def _noting(self, method: str) -> Iterator[None]:
        try:
            yield
        except asyncio.CancelledError:
            self.cancelled.append(method)
            raise

    async def _fail(self, call: str, context: Context) -> None:
        planned = self._failures.get(call)
        failure = planned.popleft() if planned else None
        if failure == HOLD:
            await asyncio.Event().wait()
        if isinstance(failure, ServerError):
            raise failure
        if isinstance(failure, grpc.StatusCode):
            await context.abort(failure, "on request")


class FaultyServer:
    """A server on a loop of its own; its record outlives a restart."""

    def __init__(self, settings: Settings) -> None:
        self.faults = Faults()
        self.fail_next = self.faults.fail_next
        self._settings = settings
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._server: Server | None = None

    @property
    def address(self) -> str:
        """host:port; the port stays the same after the first start."""
        return self._settings.listen

    @property
    def blobs(self) -> str:
        """The folder of its blob store."""
        return self._settings.blobs

    @property
    def calls(self) -> list[str]:
        """The methods that were called, in their order."""
        return self.faults.calls

    def start(self) -> None:
        """Serve."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._server = self._run(self._serve())
        self._settings = replace(self._settings, listen=self._server.address)

    def stop(self) -> None:
        """Cut all connections and end; does nothing where it has ended."""
        if self._loop is None or self._thread is None:
            return
        if self._server is not None:
            self._run(self._server.stop(grace=0))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._loop, self._thread, self._server = None, None, None

    kill = stop

    async def _serve(self) -> Server:
        server = Server(self._settings, interceptors=[self.faults])
        await server.start()
        return server

    def _run(self, work: Any) -> Any:
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)
