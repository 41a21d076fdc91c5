"""Data that the server reads from an object store: a server that speaks S3, on loopback."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer
from tests.server.ingest.parts import image
from tests.server.stored_datasets.parts import houses
from tests.server.stored_datasets.sources import MOST, Sources, job, made


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


class Bucket:
    """A bucket of its own, and a server's parts that may read a prefix of it."""

    def __init__(self, tmp_path: Path) -> None:
        self.name = f"lab-{uuid.uuid4().hex}"
        self.client: Any = boto3.client("s3")
        self.client.create_bucket(Bucket=self.name)
        self.sources: Sources = made(tmp_path, roots=f"s3://{self.name}/data")

    def put(self, key: str, content: bytes) -> str:
        self.client.put_object(Bucket=self.name, Key=key, Body=content)
        return f"s3://{self.name}/{key}"


@pytest.fixture
def bucket(endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    for name, value in {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    bucket = Bucket(tmp_path)
    yield bucket
    bucket.sources.close()
    bucket.client.close()


async def test_objects_are_read_once_and_again_when_they_change(bucket: Bucket) -> None:
    sources = bucket.sources
    uri = bucket.put("data/town a/houses.csv", houses())
    first = await sources.data(job(uri))
    assert (first.facts.num_samples, first.facts.source_uri) == (40, uri)
    assert await sources.num_copies(job(uri)) == 0
    bucket.put("data/town a/houses.csv", houses().replace(b"20.0", b"21.0"))
    assert await sources.num_copies(job(uri)) == 1
    assert (await sources.data(job(uri))).digest != first.digest


async def test_a_folder_is_all_objects_below_it(bucket: Bucket) -> None:
    sources = bucket.sources
    for index in range(10):
        bucket.put(f"data/boxes/images/{index}.png", image(8, 8, seed=index))
        bucket.put(f"data/boxes/labels/{index}.txt", b"0 0.5 0.5 0.25 0.5")
    bucket.put("data/boxes/images/", b"")
    bucket.put("data/boxes2/other.png", image())
    spec = job(f"s3://{bucket.name}/data/boxes/")
    spec.dataset.uri.ClearField("target")
    for message in (spec.task.detection, spec.loss.detection, spec.model.detector):
        message.SetInParent()
    first = await sources.data(spec)
    assert first.facts.num_samples == 10
    assert await sources.num_copies(spec) == 0
    bucket.put("data/boxes/labels/2.txt", b"0 0.5 0.5 0.5 0.5")
    assert await sources.num_copies(spec) == 1
    assert (await sources.data(spec)).digest != first.digest


async def test_what_is_no_object_below_the_root_is_refused(bucket: Bucket) -> None:
    bucket.put("data/houses.csv", houses())
    bucket.put("database/houses.csv", houses())
    bucket.put("data/big.csv", b"x" * (MOST + 1))
    for key, said in (
        ("data/none.csv", "which is not there"),
        ("data/big.csv", "100,001 bytes; allowed at most 100,000"),
        ("database/houses.csv", "below none of the server's data roots"),
        ("data/../database/houses.csv", "with . or .. in its path"),
    ):
        told = await bucket.sources.refused(job(f"s3://{bucket.name}/{key}"))
        assert said in told["dataset.uri.uri"]


async def test_a_store_that_does_not_answer_is_named(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = bucket.put("data/houses.csv", houses())
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    told = await bucket.sources.refused(job(uri))
    assert "which cannot be read (" in told["dataset.uri.uri"]
    assert "credentials and its network" in told["dataset.uri.uri"]
