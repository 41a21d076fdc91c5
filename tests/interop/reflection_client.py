"""Uploads a file, trains on it and downloads the model, knowing nothing of Talweg but an address.

Every message is built from what the server's reflection says, as any gRPC tool would do it.
Prints the job's name, its final state, and the number of bytes of its model.
"""

import hashlib
import os
import sys
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator
from typing import Any

import grpc
from google.protobuf import json_format
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

TABLE = "rooms,price\n" + "".join(f"{row % 9},{40 * (row % 9) + row % 5}\n" for row in range(120))
CHUNK = 256
# What every call carries but reflection: the token of the server's stack.
AUTH = [("authorization", f"Bearer {os.environ['TALWEG_TOKEN']}")]


class Api:
    """The services of a server, as its reflection describes them."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel
        database = ProtoReflectionDescriptorDatabase(channel)
        self._pool = DescriptorPool(database)
        self._services = {name.rpartition(".")[2]: name for name in database.get_services()}

    def call(self, service: str, method: str, *requests: dict[str, Any]) -> list[dict[str, Any]]:
        """Call a method of any kind, and return all that it answers."""
        name = self._services[service]
        descriptor = self._pool.FindServiceByName(name).FindMethodByName(method)
        request_class = GetMessageClass(descriptor.input_type)
        # On the wire, one message is a stream of one.
        rpc: Any = self._channel.stream_stream(
            f"/{name}/{method}",
            request_serializer=lambda value: value.SerializeToString(),
            response_deserializer=GetMessageClass(descriptor.output_type).FromString,
        )
        messages = [json_format.ParseDict(request, request_class()) for request in requests]
        return [
            json_format.MessageToDict(answer, preserving_proto_field_name=True)
            for answer in rpc(iter(messages), timeout=60, metadata=AUTH)
        ]


def upload(content: bytes) -> Iterator[dict[str, Any]]:
    """Yield the messages that upload a file."""
    yield {
        "header": {
            "name": "by-reflection",
            "file_name": "houses.csv",
            "sha256": hashlib.sha256(content).hexdigest(),
            "num_bytes": len(content),
        }
    }
    for offset in range(0, len(content), CHUNK):
        data = b64encode(content[offset : offset + CHUNK]).decode()
        yield {"chunk": {"offset": offset, "data": data}}


def main(address: str) -> None:
    with grpc.insecure_channel(address) as channel:
        api = Api(channel)
        api.call("StoredDatasetService", "UploadStoredDataset", *upload(TABLE.encode()))
        spec = {
            "task": {"regression": {}},
            "dataset": {"stored": {"name": "by-reflection", "target": "price"}},
            "model": {"mlp": {"hidden": [16]}},
            "loss": {"huber": {}},
            "training": {"epochs": 3},
            "outputs": {"plots": False},
        }
        job = api.call("JobService", "SubmitJob", {"spec": spec})[0]["job"]
        deadline = time.monotonic() + 360
        while job["state"] in ("QUEUED", "RUNNING") and time.monotonic() < deadline:
            time.sleep(0.1)
            (job,) = api.call("JobService", "GetJob", {"name": job["name"]})
        weights = {"job": job["name"], "path": "model/weights.safetensors"}
        answers = api.call("ArtifactService", "DownloadArtifact", weights)
        content = b"".join(b64decode(answer["data"]) for answer in answers)
        assert hashlib.sha256(content).hexdigest() == answers[-1]["sha256"]
    assert not [name for name in sys.modules if name.split(".")[0] == "talweg"]
    print(job["name"], job["state"], len(content))


if __name__ == "__main__":
    main(sys.argv[1])
