"""A connection to a server: calls with deadlines and safe retries."""

import random
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from talweg.client._address import ServerAddress
from talweg.client._errors import (
    HOW_TO_START,
    ResourceExhausted,
    TalwegError,
    Unavailable,
    WaitTimeout,
    code_of,
    from_rpc,
    is_passing,
)
from talweg.client._handle import Seconds, to_seconds
from talweg.client._transport import Arguments, Request, Response, Result, Transport
from talweg.spec.refusals import NOT_BEGUN
from talweg.v1 import jobs_pb2, sweeps_pb2

if TYPE_CHECKING:
    import grpc

Event = TypeVar("Event", jobs_pb2.Event, sweeps_pb2.SweepEvent)

# A server that has never answered probably does not exist: report this soon.
FIRST_CONTACT_SECONDS: Final = 5.0
_FIRST_DELAY: Final = 0.05
_LONGEST_DELAY: Final = 2.0
# No connection attempt takes this long: a stream that broke later had reached the server.
_CONNECTED_SECONDS: Final = 60.0


@dataclass(frozen=True)
class Source(Generic[Event]):
    """A job or a sweep, and how its events are asked for."""

    name: str
    """``jobs/{id}`` or ``sweeps/{id}``."""
    watch: Any
    """The method of a stub that streams its events."""
    request: Callable[[int], Any]
    """Returns the request for the events after a cursor."""
    get: Any
    """The method that returns its message."""
    get_request: Any
    """The request for it."""
    has_ended: Callable[[Any], bool]
    """Tells from the message whether it has ended."""
    may_go_on: bool
    """Whether further events may follow one with `finished`."""


class Connection:
    """A channel to a server, with the stubs of its services."""

    def __init__(self, server: ServerAddress, *, timeout: Seconds, patience: Seconds) -> None:
        """Open a channel; nothing is sent before the first call."""
        # With them comes gRPC, which takes longer to import than all the rest of the client.
        from talweg.v1.artifacts_pb2_grpc import ArtifactServiceStub
        from talweg.v1.catalog_pb2_grpc import CatalogServiceStub
        from talweg.v1.identity_pb2_grpc import IdentityServiceStub
        from talweg.v1.jobs_pb2_grpc import JobServiceStub
        from talweg.v1.predictions_pb2_grpc import PredictionServiceStub
        from talweg.v1.sessions_pb2_grpc import SessionServiceStub
        from talweg.v1.stored_datasets_pb2_grpc import StoredDatasetServiceStub
        from talweg.v1.sweeps_pb2_grpc import SweepServiceStub
        from talweg.v1.system_pb2_grpc import SystemServiceStub

        self.server = server
        self._timeout, self._patience = to_seconds(timeout), to_seconds(patience)
        if not (self._timeout > 0 and self._patience >= 0):
            raise ValueError(
                f"timeout must be above 0 and patience at least 0, in seconds or as timedelta, "
                f"but got {timeout!r} and {patience!r}"
            )
        self._transport = Transport(server)
        channel = self._transport.channel
        self.jobs = JobServiceStub(channel)
        self.sweeps = SweepServiceStub(channel)
        self.sessions = SessionServiceStub(channel)
        self.artifacts = ArtifactServiceStub(channel)
        self.predictions = PredictionServiceStub(channel)
        self.catalogue = CatalogServiceStub(channel)
        self.system = SystemServiceStub(channel)
        self.identity = IdentityServiceStub(channel)
        self.stored = StoredDatasetServiceStub(channel)
        self._has_answered = False

    def close(self) -> None:
        """Close the channel; running calls and watches end."""
        self._transport.close()

    def pause(self, seconds: float) -> bool:
        """Wait; return False, at once, where the connection is closed."""
        return self._transport.pause(seconds)

    def work(
        self,
        function: Callable[Arguments, Result],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Result:
        """Do work of this machine that takes long, such as reading a large file."""
        return self._transport.work(function, *args, **kwargs)

    def call(
        self,
        method: "grpc.UnaryUnaryMultiCallable[Request, Response]",
        request: Request,
        *,
        at_least: float = 0.0,
    ) -> Response:
        """Call a method, with retries while the server is unavailable and time is left.

        Retries are safe: every request that changes something has a request id or is idempotent.
        A call of a token that makes too many is sent again when the server says.

        Args:
            method: Of a stub.
            request: What is sent.
            at_least: Seconds that the call may take even where the client's timeout is shorter.

        Raises:
            TalwegError: An error of the server, or Unavailable.
        """
        import grpc

        backoff = _Backoff()
        seconds = max(self._timeout, at_least)
        deadline = backoff.started + seconds
        refusal: TalwegError | None = None
        while True:
            self._check_open()
            try:
                remaining = max(0.001, deadline - time.monotonic())
                response = self._transport.unary(method, request, remaining)
            except grpc.RpcError as error:
                self._check_open()
                failure = self._note(error)
                retry_until = min(deadline, self._retry_until(backoff, seconds))
                if _is_code(error, "DEADLINE_EXCEEDED") and refusal is not None:
                    # The server's reason says more than that the last try ended in the middle.
                    raise refusal from error
                may_retry = _is_code(error, "UNAVAILABLE") or failure.reason in NOT_BEGUN
                if not may_retry or not backoff.fits(retry_until, failure):
                    raise failure from error
                if failure.reason:
                    refusal = failure
                self._transport.pause(backoff.delay)
            else:
                self._has_answered = True
                return response

    def send(
        self,
        method: "grpc.StreamUnaryMultiCallable[Request, Response]",
        messages: Iterator[Request],
    ) -> Response:
        """Send a stream of messages, and return the response; it is not tried again.

        Raises:
            TalwegError: An error of the server, or Unavailable where the connection broke.
            OSError: The messages could not be read.
        """
        import grpc

        self._check_open()
        source = _Watched(messages)
        try:
            response = self._transport.send(method, source)
        except grpc.RpcError as error:
            self._check_open()
            if source.error is not None:
                raise source.error from error
            raise self._note(error) from error
        self._has_answered = True
        return response

    def retries(self) -> "Retries":
        """Return what waits between tries, for as long as the client's patience lasts."""
        return Retries(self._transport, self._patience)

    def watch(
        self,
        source: Source[Event],
        *,
        after: int,
        until: float | None = None,
        on_lost: Callable[[str], None] | None = None,
    ) -> Generator[Event]:
        """Yield the events of a job or a sweep after a cursor, up to its end, each once, in order.

        A broken stream is reopened after the last received event.

        Args:
            source: The job or the sweep.
            after: The cursor.
            until: When to give up, on the monotonic clock; never if None.
            on_lost: Called with the reason each time the server cannot be reached.

        Raises:
            WaitTimeout: At `until`.
            TalwegError: An error of the server, or Unavailable once it has been away for longer
                than the client's patience.
        """
        cursor = after
        backoff: _Backoff | None = None
        while True:
            opened = time.monotonic()
            try:
                has_finished = False
                with closing(self._stream(source, cursor, until)) as events:
                    for event in events:
                        backoff = None
                        if event.cursor <= cursor:
                            continue
                        cursor = event.cursor
                        yield event
                        has_finished = event.HasField("finished")
                        if has_finished:
                            break
                if (has_finished and not source.may_go_on) or self._is_over(source, cursor):
                    return
                if has_finished:
                    # It was continued since.
                    continue
                raise Unavailable(f"the server at {self.server.address} ended the stream")
            except TalwegError as lost:
                if not is_passing(lost):
                    raise
                if backoff is None or time.monotonic() - opened > _CONNECTED_SECONDS:
                    backoff = _Backoff()
                if not backoff.fits(self._retry_until(backoff, self._patience), lost):
                    raise
                if on_lost is not None:
                    on_lost(str(lost).removesuffix(f". {HOW_TO_START}"))
                remaining = backoff.delay if until is None else until - time.monotonic()
                self._transport.pause(max(0.0, min(backoff.delay, remaining)))

    def resumed(
        self,
        method: "grpc.UnaryStreamMultiCallable[Request, Response]",
        next_request: Callable[[], Request],
    ) -> Generator[Response]:
        """Yield the responses of a stream, which is opened again wherever it breaks.

        Args:
            method: What opens it.
            next_request: Returns the request for what has not arrived yet.

        Raises:
            TalwegError: An error of the server, or Unavailable once it has been away for longer
                than the client's patience.
        """
        import grpc

        backoff: _Backoff | None = None
        while True:
            self._check_open()
            try:
                with closing(self._transport.stream(method, next_request())) as responses:
                    for response in responses:
                        self._has_answered, backoff = True, None
                        yield response
                return
            except grpc.RpcError as error:
                self._check_open()
                failure = self._note_of_stream(error)
                backoff = backoff or _Backoff()
                until = self._retry_until(backoff, self._patience)
                if not is_passing(failure) or not backoff.fits(until, failure):
                    raise failure from error
            self._transport.pause(backoff.delay)

    def _stream(self, source: Source[Event], cursor: int, until: float | None) -> Generator[Event]:
        """Yield the events of one stream; raise what is passing if it breaks."""
        import grpc

        self._check_open()
        remaining = None if until is None else until - time.monotonic()
        if remaining is not None and remaining <= 0:
            raise WaitTimeout(f"{source.name} did not end in time")
        stream = self._transport.stream(source.watch, source.request(cursor), remaining)
        try:
            with closing(stream) as responses:
                for response in responses:
                    self._has_answered = True
                    yield response.event
        except grpc.RpcError as error:
            self._check_open()
            failure = self._note_of_stream(error)
            if remaining is not None and _is_code(error, "DEADLINE_EXCEEDED"):
                raise WaitTimeout(f"{source.name} did not end in time") from error
            raise failure from error

    def _is_over(self, source: Source[Event], cursor: int) -> bool:
        """Return whether a stream ended because there is nothing behind its cursor."""
        message = self.call(source.get, source.get_request)
        return source.has_ended(message) and message.last_cursor <= cursor

    def _retry_until(self, backoff: "_Backoff", seconds: float) -> float:
        allowed = seconds if self._has_answered else min(seconds, FIRST_CONTACT_SECONDS)
        return backoff.started + allowed

    def _check_open(self) -> None:
        if self._transport.is_closed:
            raise ValueError("the client is closed")

    def _note(self, error: "grpc.RpcError") -> TalwegError:
        failure = from_rpc(error, address=self.server.address, proxy=self.server.proxy())
        # An UNAVAILABLE with a reason was written by the server itself.
        self._has_answered |= not isinstance(failure, Unavailable) or bool(failure.reason)
        return failure

    def _note_of_stream(self, error: "grpc.RpcError") -> TalwegError:
        failure = self._note(error)
        if _is_code(error, "CANCELLED") and not failure.reason:
            # A server that shuts down cancels its open streams.
            return Unavailable(str(failure))
        return failure


class Retries:
    """Waits between tries of a long call, longer each time; progress starts it anew."""

    def __init__(self, transport: Transport, patience: float) -> None:
        """Begin now; `patience` is in seconds, and closing the transport ends a wait."""
        self._transport = transport
        self._patience = patience
        self._backoff = _Backoff()

    def wait(self, failure: TalwegError) -> bool:
        """Wait before the next try; return False at once where the patience is at its end.

        Args:
            failure: What ended the last try.
        """
        if not self._backoff.fits(self._backoff.started + self._patience, failure):
            return False
        return self._transport.pause(self._backoff.delay)

    def restart(self) -> None:
        """Begin anew, since the last try got further."""
        self._backoff = _Backoff()


class _Watched(Iterator[Request]):
    """Messages with the error that ended them: gRPC would only say that there was one."""

    def __init__(self, messages: Iterator[Request]) -> None:
        self._messages = messages
        self.error: OSError | None = None

    def __next__(self) -> Request:
        try:
            return next(self._messages)
        except OSError as error:
            self.error = error
            raise


class _Backoff:
    """Exponential backoff with jitter between retries."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.delay = 0.0
        self._next = _FIRST_DELAY

    def fits(self, deadline: float, failure: TalwegError) -> bool:
        """Draw the next delay; return False if it would end after the deadline.

        Args:
            deadline: On the monotonic clock.
            failure: What is to be tried again; it may say when.
        """
        after = failure.retry_after if isinstance(failure, ResourceExhausted) else None
        # Behind what the server says too, so that not all callers come back in one moment.
        least = 0.0 if after is None else after.total_seconds()
        self.delay = least + self._next * random.uniform(0.5, 1.0)
        self._next = min(_LONGEST_DELAY, 2 * self._next)
        return time.monotonic() + self.delay < deadline


def _is_code(error: "grpc.RpcError", name: str) -> bool:
    code = code_of(error)
    return code is not None and code.name == name
