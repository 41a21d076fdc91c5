"""Submits a job knowing nothing of Talweg but an address.

Every message is built from what the server's reflection says, as any gRPC tool would do it.
Prints the job's name and final state.
"""

import sys
import time
from typing import Any

import grpc
from google.protobuf import json_format
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)


def call(
    channel: grpc.Channel,
    pool: DescriptorPool,
    service: str,
    method: str,
    request: dict[str, Any],
) -> dict[str, Any]:
    descriptor = pool.FindServiceByName(service).FindMethodByName(method)
    message = json_format.ParseDict(request, GetMessageClass(descriptor.input_type)())
    rpc: Any = channel.unary_unary(
        f"/{service}/{method}",
        request_serializer=lambda value: value.SerializeToString(),
        response_deserializer=GetMessageClass(descriptor.output_type).FromString,
    )
    return json_format.MessageToDict(rpc(message, timeout=10), preserving_proto_field_name=True)


def main(address: str) -> None:
    with grpc.insecure_channel(address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        pool = DescriptorPool(database)
        (service,) = [name for name in database.get_services() if name.endswith(".JobService")]
        spec = {
            "task": {"multiclass": {}},
            "dataset": {"iris": {}},
            "model": {"mlp": {"hidden": [16]}},
            "loss": {"cross_entropy": {}},
            "training": {"epochs": 3},
            "outputs": {"model": False, "plots": False},
        }
        job = call(channel, pool, service, "SubmitJob", {"spec": spec})["job"]
        deadline = time.monotonic() + 360
        while job["state"] in ("QUEUED", "RUNNING") and time.monotonic() < deadline:
            time.sleep(0.1)
            job = call(channel, pool, service, "GetJob", {"name": job["name"]})
    assert not [name for name in sys.modules if name.split(".")[0] == "talweg"]
    print(job["name"], job["state"])


if __name__ == "__main__":
    main(sys.argv[1])
