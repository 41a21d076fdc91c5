"""An upload goes on where it was, whichever side is killed in the middle."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from tests._parts import Server, running_server

from talweg.client import Client

NUM_BYTES = 24 * 1024 * 1024

# Its progress callback runs between two chunks, so the kill comes in the middle of the upload.
UPLOAD_HALF = """
import os, signal, sys
from talweg.client import Client

def die_in_the_middle(sent, total):
    if sent >= total // 2:
        os.kill(os.getpid(), signal.SIGKILL)

Client(sys.argv[1]).upload(sys.argv[2], on_progress=die_in_the_middle)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    with running_server(folder, redis_url, TALWEG_BLOBS=str(folder / "blobs")) as server:
        yield server


def noise(path: Path, seed: int) -> Path:
    values = np.random.default_rng(seed).integers(0, 256, (1024, NUM_BYTES // 1024), np.uint8)
    np.savez(path, x=values, y=np.arange(1024) % 2)
    return path


@pytest.mark.faults
def test_an_upload_goes_on_where_its_killed_client_was(server: Server, tmp_path: Path) -> None:
    path = noise(tmp_path / "client.npz", 1)
    command = [sys.executable, "-c", UPLOAD_HALF, server.address, str(path)]
    assert subprocess.run(command, timeout=120).returncode == -signal.SIGKILL
    sent: list[int] = []
    with Client(server.address) as client:
        assert not list(client.stored_datasets(name="client"))
        stored = client.upload(path, on_progress=lambda done, _: sent.append(done))
        assert stored.num_samples == 1024
        assert client.stored_dataset("client").digest == stored.digest
    # gRPC may hold some chunks on each side that the server has not written.
    assert sent[0] > NUM_BYTES // 4
    assert sent[-1] == path.stat().st_size


@pytest.mark.faults
def test_an_upload_goes_on_where_its_killed_server_was(server: Server, tmp_path: Path) -> None:
    path = noise(tmp_path / "server.npz", 2)
    sent: list[int] = []

    def kill_in_the_middle(done: int, total: int) -> None:
        if done >= total // 2 and max(sent, default=0) < total // 2:
            server.kill()
            starter.submit(server.start)
        sent.append(done)

    # A program ends with the thread that started it, so this one outlives the upload.
    with ThreadPoolExecutor(1) as starter, Client(server.address) as client:
        stored = client.upload(path, on_progress=kill_in_the_middle)
        assert stored.num_samples == 1024
        again = next(i for i in range(1, len(sent)) if sent[i] <= sent[i - 1])
        assert sent[again] > NUM_BYTES // 4
        assert sent[-1] == path.stat().st_size
        assert client.stored_dataset("server").digest == stored.digest
