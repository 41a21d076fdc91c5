"""Files of jobs through the client and the command line, from a real server and a real store."""

from pathlib import Path

import pytest
from tests.client.faulty import FaultyServer
from tests.client.samples import sample
from tests.client.worker import Worker

from talweg.blobs import PICTURES, TRAINING, Blobs, write_artifacts
from talweg.client import Artifact, Client, Job

WEIGHTS = bytes(range(256)) * 10_000  # 2.5 MiB: three chunks
FILES = {
    "job.yaml": b"task: regression\n",
    "model/weights.safetensors": WEIGHTS,
    "model/model.json": b"{}",
}


@pytest.fixture
def service(faulty: FaultyServer) -> FaultyServer:
    return faulty


@pytest.fixture
def blobs(faulty: FaultyServer) -> Blobs:
    return Blobs(faulty.blobs)


@pytest.fixture
def ended(client: Client, worker: Worker, blobs: Blobs) -> Job:
    """A job that has ended, with its files and without its plots."""
    job = client.submit(sample())
    attempt = worker.claim(job.name)
    write_artifacts(blobs, job.name, 1, TRAINING, FILES, awaits=[PICTURES])
    attempt.finish()
    return job.refresh()


def test_files_arrive_whole_under_their_paths(ended: Job, tmp_path: Path) -> None:
    arrived: dict[str, list[int]] = {}

    def progress(file: Artifact, num_bytes: int) -> None:
        arrived.setdefault(file.path, []).append(num_bytes)

    written = ended.download("model", tmp_path / "got", progress=progress)
    assert written == [tmp_path / "got" / path for path in sorted(FILES)[1:]]
    for path in written:
        assert path.read_bytes() == FILES[str(path.relative_to(tmp_path / "got"))]
    assert len(list((tmp_path / "got").rglob("*"))) == 3, "nothing else is left"
    counts = arrived["model/weights.safetensors"]
    assert counts == [0, 1 << 20, 2 << 20, len(WEIGHTS)]
