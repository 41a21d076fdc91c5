"""buf reads the .proto files and the descriptor set, and calls the server."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from tests.integration.stack import Stack
from tests.interop.tools import DESCRIPTORS, PROTO, needs_npm, run

from talweg.v1.spec_pb2 import JobSpec

pytestmark = needs_npm

SCHEMAS = {
    "reflection v1": ["--reflect-protocol", "grpc-v1"],
    "reflection v1alpha": ["--reflect-protocol", "grpc-v1alpha"],
    "protos": ["--schema", str(PROTO)],
    "descriptors": ["--schema", str(DESCRIPTORS)],
}
NOT_FOUND = 5


def test_buf_builds_the_protos_without_anything_else(tmp_path: Path) -> None:
    image, folder = tmp_path / "image.binpb", tmp_path / "proto"
    # Where nothing of the repository lies around it.
    shutil.copytree(PROTO, folder)
    run(["buf", "build", folder, "-o", image])
    built = FileDescriptorSet.FromString(image.read_bytes())
    ours = FileDescriptorSet.FromString(DESCRIPTORS.read_bytes())
    declared = {
        file.name: [message.name for message in file.message_type]
        for file in built.file
        if file.name.startswith("talweg/")
    }
    assert declared == {
        file.name: [message.name for message in file.message_type]
        for file in ours.file
        if file.name.startswith("talweg/")
    }


def test_buf_accepts_the_descriptors() -> None:
    run(["buf", "build", DESCRIPTORS])


@pytest.mark.parametrize("schema", [PROTO, DESCRIPTORS], ids=["protos", "descriptors"])
def test_buf_converts_a_spec(schema: Path, tmp_path: Path) -> None:
    spec = {"task": {"regression": {}}, "loss": {"huber": {"delta": 2}}, "tags": {"team": "blue"}}
    text, binary = tmp_path / "spec.json", tmp_path / "spec.binpb"
    text.write_text(json.dumps(spec))
    convert = ["buf", "convert", schema, "--type", "talweg.v1.JobSpec"]
    run([*convert, "--from", text, "--to", binary])
    message = JobSpec.FromString(binary.read_bytes())
    assert message.loss.huber.delta == 2
    assert message.tags["team"] == "blue"
    assert json.loads(run([*convert, "--from", binary, "--to", "-#format=json"]).stdout) == spec


@pytest.mark.parametrize("schema", SCHEMAS)
def test_buf_calls_the_server(stack: Stack, finished: str, schema: str) -> None:
    curl = ["buf", "curl", "--protocol", "grpc", *SCHEMAS[schema]]
    url = f"http://{stack.address}"
    methods = run([*curl, "--list-methods", url]).stdout.split()
    assert {"talweg.v1.JobService/SubmitJob", "talweg.v1.SystemService/GetStatus"} <= set(methods)

    def call(method: str, *, status: int = 0, **request: object) -> str:
        service = f"{url}/talweg.v1.JobService/{method}"
        auth = ("-H", f"authorization: Bearer {stack.token}")
        done = run([*curl, *auth, "-d", json.dumps(request), service], status=status)
        return done.stdout or done.stderr

    job = json.loads(call("GetJob", name=finished))
    assert job["state"] == "SUCCEEDED"
    assert job["spec"]["loss"]["huber"]["delta"] == 2
    events = stream(call("WatchJob", name=finished))
    assert [int(each["event"]["cursor"]) for each in events] == list(range(1, len(events) + 1))
    assert events[-1]["event"]["finished"]["state"] == "SUCCEEDED"
    # buf's exit status is gRPC's code, times 8.
    error = json.loads(call("GetJob", name="jobs/none", status=NOT_FOUND * 8))
    assert error["code"] == "not_found"
    assert error["details"][0]["type"] == "google.rpc.ErrorInfo"


def stream(text: str) -> list[dict[str, Any]]:
    """Read JSON values that stand one behind the other."""
    decoder, values = json.JSONDecoder(), []
    while text := text.strip():
        value, end = decoder.raw_decode(text)
        values.append(value)
        text = text[end:]
    return values
