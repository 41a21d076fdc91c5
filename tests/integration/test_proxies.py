"""A proxy for the web that is dead is named in the environment: no part of a stack goes there.

The blob store is a bucket, which jobs in the sandbox do not reach. A minute long: `make faults`.
"""

import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer
from tests._parts import free_port, wait_until
from tests._plugins import install_example
from tests.integration.stack import Stack, start_stack, tiny_spec

from talweg.client import Client

pytestmark = pytest.mark.faults

NAMES = ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy", "HTTP_PROXY", "HTTPS_PROXY")


@pytest.fixture(scope="module")
def bucket() -> Iterator[tuple[str, dict[str, str]]]:
    """A bucket of a store on this machine, and the variables by which it is reached."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    env = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    name = f"talweg-{uuid.uuid4().hex}"
    boto3.client(
        "s3",
        endpoint_url=env["AWS_ENDPOINT_URL"],
        region_name=env["AWS_DEFAULT_REGION"],
        aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
    ).create_bucket(Bucket=name)
    yield name, env
    server.stop()


@pytest.fixture(scope="module")
def stack(
    tmp_path_factory: pytest.TempPathFactory, bucket: tuple[str, dict[str, str]]
) -> Iterator[Stack]:
    name, env = bucket
    dead = f"http://127.0.0.1:{free_port()}"
    folder = tmp_path_factory.mktemp("proxies")
    install_example(folder / "site")
    stack = start_stack(
        folder,
        PYTHONPATH=str(folder / "site"),
        before=["env", "--unset=no_proxy", "--unset=NO_PROXY"],
        TALWEG_BLOBS=f"s3://{name}/blobs",
        **dict.fromkeys(NAMES, dead),
        **env,
    )
    stack.env.pop("no_proxy", None)
    stack.env.pop("NO_PROXY", None)
    yield stack
    stack.stop()


@pytest.mark.parametrize(
    "fields",
    [{}, {"model": {"plugin": {"name": "gated"}}, "loss": {"plugin": {"name": "cauchy"}}}],
    ids=["own", "in the sandbox"],
)
def test_no_part_of_a_stack_goes_through_a_proxy(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any]
) -> None:
    for name in NAMES:
        monkeypatch.setenv(name, stack.env[name])
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    table = tmp_path / "table.csv"
    table.write_text("a,b\n" + "".join(f"{i % 13},{i % 7}\n" for i in range(300)))
    with Client(stack.address) as client:
        added = stack.run("data", "add", str(table), "--name", "table")
        assert added.returncode == 0, added.stderr
        job = client.submit(
            tiny_spec(
                dataset={"stored": {"name": "table", "target": "b"}},
                training={"steps": 200, "checkpoints": {"every_steps": 50}},
                outputs={"model": True, "plots": True},
                **fields,
            )
        )
        assert job.wait(timedelta(minutes=6)).state == "SUCCEEDED", job.message.outcome.message
        wait_until(lambda: job.refresh().message.tracking.complete, timeout=120, what="delivered")
        # From the store on this machine, by the server and by the worker.
        got = stack.run("get", job.id, "-o", str(tmp_path / "model"))
        assert got.returncode == 0, got.stderr
        assert any(path.suffix == ".safetensors" for path in (tmp_path / "model").rglob("*"))
        new = tmp_path / "new.csv"
        new.write_text("a\n1\n2\n")
        predicted = stack.run("predict", job.id, str(new), "-o", str(tmp_path / "predicted.csv"))
        assert predicted.returncode == 0, predicted.stderr
        log = [event.log.text for event in job.watch() if event.log.text]
        assert not [line for line in log if "could not" in line]
    status = stack.run("status")
    assert status.returncode == 0, status.stdout
