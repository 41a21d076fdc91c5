"""grpcurl describes the API and calls the server."""

import json

import pytest
from tests.integration.stack import Stack
from tests.interop.tools import DESCRIPTORS, PROTO, needs_grpcurl, run

pytestmark = needs_grpcurl

SCHEMAS: dict[str, list[object]] = {
    "reflection": [],
    "protos": [
        *("-import-path", PROTO, "-import-path", PROTO / "third_party"),
        *("-proto", "talweg/v1/jobs.proto"),
    ],
    "descriptors": ["-protoset", DESCRIPTORS],
}
NOT_FOUND = 5


def test_grpcurl_describes_all_that_is_listed(stack: Stack) -> None:
    grpcurl = ["grpcurl", "-plaintext", stack.address]
    services = run([*grpcurl, "list"]).stdout.split()
    assert {"talweg.v1.JobService", "grpc.reflection.v1.ServerReflection"} <= set(services)
    for service in services:
        assert f"{service} is a service" in run([*grpcurl, "describe", service]).stdout
    method = run([*grpcurl, "describe", "talweg.v1.JobService.WatchJob"]).stdout
    assert "returns ( stream .talweg.v1.WatchJobResponse )" in method


@pytest.mark.parametrize("schema", SCHEMAS)
def test_grpcurl_calls_the_server(stack: Stack, finished: str, schema: str) -> None:
    def call(name: str, status: int = 0) -> str:
        done = run(
            [
                *("grpcurl", "-plaintext", *SCHEMAS[schema], "-d", json.dumps({"name": name})),
                *("-H", f"authorization: Bearer {stack.token}"),
                *(stack.address, "talweg.v1.JobService/GetJob"),
            ],
            status=status,
        )
        return done.stdout or done.stderr

    job = json.loads(call(finished))
    assert job["state"] == "SUCCEEDED"
    assert job["spec"]["loss"]["huber"]["delta"] == 2
    # grpcurl's exit status is gRPC's code and 64.
    assert "there is no job 'jobs/none'" in call("jobs/none", NOT_FOUND + 64)
