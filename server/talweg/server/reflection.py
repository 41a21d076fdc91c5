"""Server reflection, by which tools such as grpcurl learn the API: v1, and v1alpha for older ones.

grpcio-reflection has v1alpha alone. Version 1 has the same messages under another name, so one
servicer answers both.

Reference: https://github.com/grpc/grpc-proto/blob/master/grpc/reflection/v1/reflection.proto
"""

from collections.abc import Sequence

import grpc
from grpc_reflection.v1alpha import reflection
from grpc_reflection.v1alpha.reflection_pb2 import (
    ServerReflectionRequest,
    ServerReflectionResponse,
)

V1 = "grpc.reflection.v1.ServerReflection"
"""The full name of version 1."""
V1ALPHA: str = reflection.SERVICE_NAME
"""The full name of the version before."""
_METHOD = "ServerReflectionInfo"


def add_reflection(server: grpc.aio.Server, services: Sequence[str]) -> None:
    """Serve reflection of services, and of itself.

    Args:
        server: Where.
        services: Their full names.
    """
    names = (*services, V1, V1ALPHA)
    servicer = reflection.aio.ReflectionServicer(names)
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=ServerReflectionRequest.FromString,
        response_serializer=ServerReflectionResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler(name, {_METHOD: handler}) for name in (V1, V1ALPHA)]
    )
