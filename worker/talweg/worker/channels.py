"""How the worker's processes speak to the gRPC server.

A channel does not survive a fork: each process opens its own, at its first call.
"""

import os
import random
from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple, Protocol, TypeVar

import grpc
from google.rpc import error_details_pb2, status_pb2

from talweg.spec.identity.security import Security
from talweg.spec.predictions import MAX_PICTURES_BYTES
from talweg.spec.refusals import AFTER_RECORD_SECONDS, DETAILS, NOT_BEGUN, RECORD_AWAY
from talweg.v1.jobs_pb2_grpc import JobServiceStub
from talweg.v1.sweeps_pb2_grpc import SweepServiceStub
from talweg.v1.workers_pb2_grpc import WorkerServiceStub
from talweg.worker.clock import SYSTEM, Clock
from talweg.worker.errors import WorkerError

Q = TypeVar("Q", contravariant=True)
A = TypeVar("A", covariant=True)

# A restarted server is found again within a second; gRPC's own default waits up to two minutes.
_OPTIONS = (
    # A prediction comes with its pictures.
    ("grpc.max_receive_message_length", 2 * MAX_PICTURES_BYTES),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.enable_retries", 0),
    # A proxy set for the web must not catch calls between parts of one service.
    ("grpc.enable_http_proxy", 0),
)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0
_SHORTEST_TRY = 0.05

RECORD_PATIENCE = 600.0
"""For so many seconds a job goes on while the server answers that its record does not."""


class ServerAwayError(WorkerError):
    """The server could not be reached for as long as it was worth trying."""


class Method(Protocol[Q, A]):
    """A unary method of a stub."""

    def __call__(self, request: Q, /, *, timeout: float | None = None) -> A:
        """Call it."""


class _Signed(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
    """Adds metadata to each call."""

    def __init__(self, metadata: tuple[tuple[str, str], ...]) -> None:
        self._metadata = metadata

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        return continuation(self._signed(details), request)

    def intercept_unary_stream(self, continuation: Any, details: Any, request: Any) -> Any:
        return continuation(self._signed(details), request)

    def _signed(self, details: Any) -> "_Details":
        return _Details(
            details.method,
            details.timeout,
            (*(details.metadata or ()), *self._metadata),
            details.credentials,
            details.wait_for_ready,
            details.compression,
        )


class _Details(NamedTuple):
    method: str
    timeout: float | None
    metadata: tuple[tuple[str, str | bytes], ...]
    credentials: Any
    wait_for_ready: bool | None
    compression: Any


class Channel:
    """The server's services, connected at the first use in this process."""

    def __init__(self, address: str) -> None:
        """Keep the address.

        Args:
            address: Host:port.
        """
        self.address = address

    @cached_property
    def _channel(self) -> grpc.Channel:
        # Read here, in the process that uses it: a token's file may have been renewed since.
        security = Security.from_env(os.environ)
        security.check(self.address)
        secured = security.channel_credentials()
        channel = (
            grpc.insecure_channel(self.address, options=_OPTIONS)
            if secured is None
            else grpc.secure_channel(self.address, secured, options=_OPTIONS)
        )
        return grpc.intercept_channel(channel, _Signed(security.metadata))

    @cached_property
    def workers(self) -> WorkerServiceStub:
        """The service for workers."""
        return WorkerServiceStub(self._channel)

    @cached_property
    def jobs(self) -> JobServiceStub:
        """The service for people."""
        return JobServiceStub(self._channel)

    @cached_property
    def sweeps(self) -> SweepServiceStub:
        """The service for sweeps."""
        return SweepServiceStub(self._channel)

    def close(self) -> None:
        """Close the connection where there is one."""
        if "_channel" in self.__dict__:
            self._channel.close()


def is_away(error: grpc.RpcError) -> bool:
    """Return whether a call may be sent again as it is: nobody answered, or not in time, or the
    server has not begun with it since there were too many.

    Every call of a worker may: claims and reports carry numbers of their own, and a job that has
    ended refuses to end again.
    """
    if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return _reason_of(error) in NOT_BEGUN
    return error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


def _reason_of(error: grpc.RpcError) -> str:
    """Return the reason that the server gave, for programs; empty where it gave none."""
    info = error_details_pb2.ErrorInfo()
    # In the stubs it is a type of grpcio's own that nobody can go through.
    metadata: Any = error.trailing_metadata() or ()
    for key, value in metadata:
        if key == DETAILS and isinstance(value, bytes):
            for detail in status_pb2.Status.FromString(value).details:
                if detail.Unpack(info):
                    return str(info.reason)
    return ""


def is_record_away(error: grpc.RpcError) -> bool:
    """Return whether the server itself answered, and its record does not.

    Nobody is given a job meanwhile: that stands in the record.
    """
    return _reason_of(error) == RECORD_AWAY


def call(
    method: Method[Q, A],
    request: Q,
    *,
    until: float,
    timeout: float = 5.0,
    record_patience: float = 0.0,
    give_up: Callable[[], bool] = lambda: False,
    clock: Clock = SYSTEM,
) -> A:
    """Call `method` until the server answers.

    Args:
        method: Of a stub.
        request: Sent as it is each time.
        until: `clock.monotonic()` after which it is no longer worth trying; at least one try.
        timeout: Seconds for one try.
        record_patience: So many seconds longer it is tried at most, and until
            `AFTER_RECORD_SECONDS` after the last answer that the server's record does not answer.
        give_up: Asked between tries.
        clock: This process's.

    Raises:
        ServerAwayError: Nobody answered until then, or `give_up` said so.
        grpc.RpcError: The server refused.
    """
    length, last = _FIRST_PAUSE, until + record_patience
    while True:
        left = until - clock.monotonic()
        try:
            return method(request, timeout=max(_SHORTEST_TRY, min(timeout, left)))
        except grpc.RpcError as exc:
            if not is_away(exc):
                raise
            if is_record_away(exc):
                until = max(until, min(last, clock.monotonic() + AFTER_RECORD_SECONDS))
            left = until - clock.monotonic()
            if left <= 0 or give_up():
                raise ServerAwayError(f"no answer: {exc.details()}") from exc
        clock.sleep(min(length * random.uniform(0.5, 1.0), left))
        length = min(2 * length, _LONGEST_PAUSE)
