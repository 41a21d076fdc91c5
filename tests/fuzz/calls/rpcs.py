"""All methods of a server, and bytes sent to any of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from tests.fuzz.calls.callers import Metadata

from talweg.server.servicers.reflection import V1, V1ALPHA
from talweg.v1 import (
    artifacts_pb2,
    catalog_pb2,
    identity_pb2,
    jobs_pb2,
    predictions_pb2,
    sessions_pb2,
    stored_datasets_pb2,
    sweeps_pb2,
    system_pb2,
    workers_pb2,
)

LIMIT_S = 60.0
"""Longer than any call takes on a busy machine; only a call that hangs passes it."""
# How long a stream that goes on for ever is listened to.
_LISTEN_S = 0.05
_ENDLESS = ("WatchJob", "WatchSweep", "Watch")


# Of this side's gRPC, with the status INTERNAL.
_UNSENT = "Invalid metadata"


class NotSentError(Exception):
    """A call has never left this process."""


@dataclass(frozen=True)
class Method:
    """One RPC."""

    path: str
    descriptor: MethodDescriptor

    def request(self) -> Message:
        return message_factory.GetMessageClass(self.descriptor.input_type)()


def methods() -> list[Method]:
    files = (
        jobs_pb2,
        workers_pb2,
        catalog_pb2,
        system_pb2,
        stored_datasets_pb2,
        artifacts_pb2,
        predictions_pb2,
        sweeps_pb2,
        sessions_pb2,
        identity_pb2,
        health_pb2,
        reflection_pb2,
    )
    known = []
    for file in files:
        for service in file.DESCRIPTOR.services_by_name.values():
            # Version 1 of reflection has the messages of the version before it.
            names = (V1, V1ALPHA) if service.full_name == V1ALPHA else (service.full_name,)
            known += [
                Method(f"/{name}/{method.name}", method)
                for name in names
                for method in service.methods
            ]
    return known


METHODS = methods()


def call(
    channel: Any,
    method: Method,
    messages: Sequence[bytes],
    metadata: Metadata,
    *,
    is_refused: bool = False,
) -> tuple[grpc.StatusCode, str]:
    """Call a method and return its status; OK where it answers.

    Args:
        channel: Without serializers it takes bytes, of which grpc's stubs do not know.
        method: The method.
        messages: What to send; the first alone where the method takes one message.
        metadata: What the call carries.
        is_refused: The call must be refused, and so ends by itself whatever it is.

    Raises:
        NotSentError: This side's gRPC does not send such metadata.
    """
    name = method.descriptor.name
    is_endless = name in _ENDLESS and not is_refused
    more: Any = {"timeout": _LISTEN_S if is_endless else LIMIT_S, "metadata": metadata}
    try:
        if method.descriptor.client_streaming:
            for _ in channel.stream_stream(method.path)(iter(messages), **more):
                pass
        elif method.descriptor.server_streaming:
            for _ in channel.unary_stream(method.path)(messages[0], **more):
                pass
        else:
            channel.unary_unary(method.path)(messages[0], **more)
    except grpc.RpcError as exc:
        if exc.details() == _UNSENT:
            raise NotSentError from exc
        if exc.code() == grpc.StatusCode.DEADLINE_EXCEEDED and is_endless:
            return grpc.StatusCode.OK, ""
        return exc.code(), exc.details() or ""
    return grpc.StatusCode.OK, ""
