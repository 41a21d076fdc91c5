"""A bucket whose policy lets a worker see the prefix of its project alone."""

import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import parse_qs

import boto3
import pytest
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from talweg.blobs import (
    TRAINING,
    Blobs,
    job_blobs,
    job_folders,
    read_artifacts,
    remove_job,
    write_artifacts,
)

pytestmark = pytest.mark.faults

PREFIX = "projects/vision/"
DENIED = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"


class Policed:
    """A server that speaks S3, and refuses what a policy of the prefix does not allow."""

    def __init__(self) -> None:
        self.is_bounded = False
        self.refused: list[str] = []
        self._served = DomainDispatcherApplication(create_backend_app)

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if not self.is_bounded or self._is_allowed(environ):
            return self._served(environ, start)  # type: ignore[no-any-return]
        self.refused.append(environ["PATH_INFO"])
        content = b"" if environ["REQUEST_METHOD"] == "HEAD" else DENIED
        start("403 Forbidden", [("Content-Length", str(len(content)))])
        return [content]

    def _is_allowed(self, environ: dict[str, Any]) -> bool:
        key = str(environ["PATH_INFO"]).lstrip("/").partition("/")[2]
        query = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
        if key:
            return key.startswith(PREFIX)
        if "list-type" in query:
            return str(query["prefix"][0]).startswith(PREFIX)
        return "location" in query or "delete" in query


@pytest.fixture
def policed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Policed]:
    policed = Policed()
    server = make_server("127.0.0.1", 0, policed, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    yield policed
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_worker_of_a_project_needs_its_prefix_alone(policed: Policed) -> None:
    name = f"lab-{uuid.uuid4().hex}"
    client = boto3.client("s3")
    client.create_bucket(Bucket=name)
    client.close()
    url = f"s3://{name}"
    Blobs(url).write("jobs/theirs/a", b"theirs")
    Blobs(url).write("jobs/old/a", b"old")
    # Of before the prefixes, for whoever may read the root.
    assert job_blobs(url, "vision").read("jobs/old/a") == b"old"
    assert sorted(job_folders(url)) == [("default", "old"), ("default", "theirs")]

    policed.is_bounded = True
    write_artifacts(job_blobs(url, "vision"), "jobs/new", 1, TRAINING, {"model.json": b"{}"})
    blobs = job_blobs(url, "vision")
    (file,) = read_artifacts(blobs, "jobs/new", last=1).files
    assert blobs.read(file.blob) == b"{}"
    with pytest.raises(PermissionError):
        Blobs(url).read("jobs/theirs/a")
    remove_job(url, "vision", "jobs/new")
    assert any(path.endswith("/jobs/new") for path in policed.refused), "it has looked there"

    policed.is_bounded = False
    remove_job(url, "vision", "jobs/old")
    assert list(job_folders(url)) == [("default", "theirs")]
