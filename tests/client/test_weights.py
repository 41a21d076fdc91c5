"""Weights that jobs start from, as the client stores them and looks them up in MLflow."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from safetensors.numpy import save_file
from tests.client.faulty import FaultyServer

from talweg.client import Client, InvalidRequest, InvalidSpec, Unavailable
from talweg.client.results._registry import Registry

JOB: dict[str, Any] = {
    "task": "regression", "dataset": "diabetes", "model": {"mlp": {"hidden": [4]}},
    "loss": "mse", "training": {"epochs": 1},
}  # fmt: skip
# The run of a version, and the job that the run is of.
RUNS = {"mine": "k3jobid", "theirs": "", "broken": "no job/id"}


class _Registry(BaseHTTPRequestHandler):
    """Answers as MLflow's registry does."""

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(address.query).items()}
        if address.path.endswith("/runs/get"):
            job = RUNS[query["run_id"]]
            tags = [{"key": "talweg.job", "value": job}] if job else []
            return self._answer(200, {"run": {"data": {"tags": tags}}})
        run = {"champion": "mine", "3": "theirs", "rival": "broken"}.get(
            query.get("alias", query.get("version", ""))
        )
        if query["name"] != "houses/tuned" or run is None:
            code = "INVALID_PARAMETER_VALUE" if "alias" in query else "RESOURCE_DOES_NOT_EXIST"
            return self._answer(400, {"error_code": code, "message": "not found"})
        return self._answer(200, {"model_version": {"run_id": run}})

    def _answer(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A registry's address, in the environment as MLflow's own client reads it."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Registry) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        yield address
        server.shutdown()
        thread.join()


def refused(client: Client, registered: str) -> str:
    with pytest.raises(InvalidSpec) as error:
        client.submit({**JOB, "weights": {"registry": registered}})
    assert all(each.field.startswith("weights") for each in error.value.violations)
    return str(error.value)


def test_a_registered_model_becomes_the_job_that_trained_it(client: Client, registry: str) -> None:
    # The server does not know the job: so it has been named to it.
    message = refused(client, "houses/tuned@champion")
    assert message.startswith("weights.job: found jobs/k3jobid; allowed a job that exists")


@pytest.mark.parametrize(
    ("registered", "says"),
    [
        ("houses/tuned@nobody", "talweg register"),
        ("houses/tuned/99", "talweg register"),
        ("houses/tuned/3", "no job of this service has trained"),
        ("houses/tuned@rival", "no job of this service has trained"),
        ("houses", "NAME@ALIAS or NAME/VERSION"),
        ("@champion", "NAME@ALIAS or NAME/VERSION"),
    ],
)
def test_what_is_not_there_or_of_others_is_refused(
    client: Client, registry: str, registered: str, says: str
) -> None:
    assert says in refused(client, registered)


def test_without_mlflow_it_is_said_what_to_do(
    faulty: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    # No job of this server has a run.
    with Client(faulty.address) as client:
        assert "set MLFLOW_TRACKING_URI, or name the job" in refused(client, "houses@champion")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
        with pytest.raises(Unavailable):
            client.submit({**JOB, "weights": {"registry": "houses@champion"}})


def test_weights_are_stored_beside_data_and_told_apart(client: Client, tmp_path: Path) -> None:
    file = tmp_path / "trunk.safetensors"
    tensors: dict[str, Any] = {
        "linear1.weight": np.ones((4, 10), np.float32),
        "linear1.bias": np.ones(4),
    }
    save_file(tensors, file)
    stored = client.upload(file)
    assert stored.is_weights
    assert [(each.name, list(each.shape)) for each in stored.columns] == [
        ("linear1.bias", [4]),
        ("linear1.weight", [4, 10]),
    ]
    assert [each.is_weights for each in client.stored_datasets(name="trunk")] == [True]
    job = client.submit({**JOB, "weights": {"stored": stored.version}})
    assert job.spec.weights.stored == f"trunk@{stored.digest}"
    assert job.spec.weights.sha256 == stored.message.data_sha256


@pytest.mark.parametrize("alias", ["latest", "V2", "a b", "a/b", "x" * 256])
def test_an_alias_that_mlflow_refuses_registers_nothing(alias: str) -> None:
    # Nobody answers there.
    with pytest.raises(InvalidRequest, match="neither 'latest' nor a version"):
        Registry("http://127.0.0.1:9").register("a", run_id="r", job="jobs/a", alias=alias)
