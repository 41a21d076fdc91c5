"""Server reflection, by which tools such as grpcurl learn the API: v1, and v1alpha for older ones.

grpcio-reflection has v1alpha alone. Version 1 has the same messages under another name, so one
servicer answers both.

Reference: https://github.com/grpc/grpc-proto/blob/master/grpc/reflection/v1/reflection.proto
"""

from collections.abc import Sequence

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto
from grpc_reflection.v1alpha import reflection
from grpc_reflection.v1alpha.reflection_pb2 import (
    DESCRIPTOR,
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
    _describe_v1()
    servicer = _Servicer((*services, V1, V1ALPHA))
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=ServerReflectionRequest.FromString,
        response_serializer=ServerReflectionResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler(name, {_METHOD: handler}) for name in (V1, V1ALPHA)]
    )


class _Servicer(reflection.aio.ReflectionServicer):  # type: ignore[misc]
    def _file_containing_symbol(
        self, request: ServerReflectionRequest, fully_qualified_name: str
    ) -> ServerReflectionResponse:
        # RPCs have names too, by which protobuf's pool finds nothing.
        service, _, method = fully_qualified_name.rpartition(".")
        try:
            is_rpc = method in self._pool.FindServiceByName(service).methods_by_name
        except KeyError:
            is_rpc = False
        symbol = service if is_rpc else fully_qualified_name
        return super()._file_containing_symbol(request, symbol)


def _describe_v1() -> None:
    """Let protobuf know version 1, as tools ask for the descriptors of all that is listed."""
    pool = descriptor_pool.Default()
    try:
        pool.FindServiceByName(V1)
    except KeyError:
        pool.AddSerializedFile(_v1_file().SerializeToString())


def _v1_file() -> FileDescriptorProto:
    file = FileDescriptorProto()
    DESCRIPTOR.CopyToProto(file)
    old, new = V1ALPHA.rpartition(".")[0], V1.rpartition(".")[0]
    file.name = "grpc/reflection/v1/reflection.proto"
    file.package = new

    def rename(message: DescriptorProto) -> None:
        for field in message.field:
            if field.type_name:
                field.type_name = field.type_name.replace(f".{old}.", f".{new}.")
        for nested in message.nested_type:
            rename(nested)

    for message in file.message_type:
        rename(message)
    for method in file.service[0].method:
        method.input_type = method.input_type.replace(f".{old}.", f".{new}.")
        method.output_type = method.output_type.replace(f".{old}.", f".{new}.")
    return file
