"""What one client may take of a server: sizes of requests, streams, idle connections."""

import resource
from datetime import timedelta
from typing import Final

from talweg.server.errors import MessageTooLarge, ServerError, SpecTooLarge
from talweg.spec import MAX_SPEC_BYTES
from talweg.spec.predictions import MAX_PICTURES_BYTES

_MIB = 1024 * 1024

_SUBMIT: Final = "/talweg.v1.JobService/SubmitJob"
_MAX_REQUEST_BYTES: Final = 4 * _MIB
# A batch of jobs may need more, and clients that send several smaller ones need less; and so may
# pictures to predict for.
_MAX_BYTES_OF: Final = {
    "/talweg.v1.JobService/BatchSubmitJobs": 16 * _MIB,
    "/talweg.v1.PredictionService/Predict": MAX_PICTURES_BYTES + _MIB,
}

# More than the watches of one caller (see `Settings.max_watches`): a client whose watches fill its
# connection would wait with all its other calls.
MAX_STREAMS: Final = 1000
"""Calls of one connection that run at once; gRPC's clients wait with more."""

# Tokens of an issuer hold the groups of their user; gRPC would take 8 KiB.
_MAX_METADATA_BYTES = 16 * 1024

_HANDSHAKE_MS = 10_000
# A caller that vanished without a word is noticed within a minute and a half.
_PING_MS, _PING_TIMEOUT_MS = 60_000, 30_000
_MIN_PING_INTERVAL_MS = 5_000
# Files that are no connections: database, broker, logs.
_RESERVED_FILES = 128
_MOST_FILES = 65_536


def too_large(method: str, num_bytes: int) -> ServerError | None:
    """Return what is wrong with the size of a request; None where nothing is.

    Args:
        method: /package.Service/Method.
        num_bytes: Of the request.
    """
    most = _MAX_BYTES_OF.get(method, _MAX_REQUEST_BYTES)
    if num_bytes <= most:
        return None
    if method == _SUBMIT:
        return SpecTooLarge.of(
            "spec", f"must be <= {MAX_SPEC_BYTES:,} bytes, but the request has {num_bytes:,}"
        )
    name = method.rpartition("/")[2]
    return MessageTooLarge(
        f"a request of {name} must have <= {most:,} bytes, but has {num_bytes:,}"
    )


def options(*, idle: timedelta) -> tuple[tuple[str, int], ...]:
    """Return gRPC's options for a server.

    Args:
        idle: After so long without a call a connection is closed.
    """
    return (
        # gRPC refuses what is larger before it takes it into memory.
        ("grpc.max_receive_message_length", max(_MAX_REQUEST_BYTES, *_MAX_BYTES_OF.values())),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_metadata_size", _MAX_METADATA_BYTES),
        ("grpc.max_concurrent_streams", MAX_STREAMS),
        ("grpc.max_connection_idle_ms", max(1, round(idle.total_seconds() * 1000))),
        # A connection that says nothing counts as one as long as it is idle; it must not take the
        # files that database and broker need.
        ("grpc.max_allowed_incoming_connections", _max_connections()),
        ("grpc.server_handshake_timeout_ms", _HANDSHAKE_MS),
        ("grpc.keepalive_time_ms", _PING_MS),
        ("grpc.keepalive_timeout_ms", _PING_TIMEOUT_MS),
        ("grpc.http2.max_pings_without_data", 0),
        # Watchers' connections say nothing for long, and may be kept alive.
        ("grpc.http2.min_recv_ping_interval_without_data_ms", _MIN_PING_INTERVAL_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        # A second server on the same port is an error, and not half of the calls.
        ("grpc.so_reuseport", 0),
    )


def raise_file_limit() -> None:
    """Let this process open as many files, and so connections, as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _max_connections() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = _MOST_FILES if soft == resource.RLIM_INFINITY else min(soft, _MOST_FILES)
    return max(1, files - min(_RESERVED_FILES, files // 2))
