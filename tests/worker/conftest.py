"""A real gRPC server for the worker's tests."""

from collections.abc import Iterator

import pytest
from tests._parts import Server, running_server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[Server]:
    """A server for the whole session; tests keep apart by their jobs.

    Its leases last longer than any test, which may then take its time between two calls.
    """
    folder = tmp_path_factory.mktemp("server")
    with running_server(folder, redis_url, TALWEG_LEASE_SECONDS="3600") as server:
        yield server
