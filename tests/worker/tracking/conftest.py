"""Delivery to a real MLflow, for jobs on a real server."""

import os
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from tests._parts import Server
from tests.worker._jobs import Jobs, jobs_of
from tests.worker.tracking.proxies import Proxy

from talweg.worker.settings import Settings
from talweg.worker.tracking import delivery as delivery_module
from talweg.worker.tracking.delivery import Delivery


@pytest.fixture(scope="session", autouse=True)
def quiet_mlflow() -> Iterator[None]:
    """What the delivery process sets for itself."""
    patch = pytest.MonkeyPatch()
    for name, value in {
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
        "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    }.items():
        patch.setenv(name, value)
    # On a busy machine a round would leave jobs to the next, which only the process begins.
    patch.setattr(delivery_module, "_LONGEST_ROUND", 600.0)
    yield
    patch.undo()


@pytest.fixture
def jobs(server: Server) -> Iterator[Jobs]:
    with jobs_of(server.address) as jobs:
        yield jobs


@pytest.fixture
def settings(server: Server, mlflow_url: str, tmp_path: Path) -> Settings:
    """A spool of the test's own."""
    (tmp_path / "spool").mkdir()
    return Settings(
        address=server.address,
        tracking_uri=mlflow_url,
        spool_dir=tmp_path / "spool",
        blobs=str(tmp_path / "blobs"),
    )


@pytest.fixture
def delivery(settings: Settings) -> Delivery:
    return Delivery(settings)


@pytest.fixture
def tracking(mlflow_url: str) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(mlflow_url)


@pytest.fixture
def proxy(mlflow_url: str) -> Iterator[Proxy]:
    """A way to MLflow that a test may disturb."""
    with Proxy(mlflow_url) as proxy:
        yield proxy


def environment(settings: Settings) -> dict[str, str]:
    """Return the settings as a process's variables."""
    return {
        **os.environ,
        "TALWEG_ADDRESS": settings.address,
        "TALWEG_TRACKING_URI": settings.tracking_uri,
        "TALWEG_SPOOL_DIR": str(settings.spool_dir),
        "TALWEG_TRACKING_DATABASE": str(settings.tracking_database or ""),
        "TALWEG_TRACKING_ARTIFACTS": str(settings.tracking_artifacts or ""),
        "TALWEG_BLOBS": settings.blobs,
    }
