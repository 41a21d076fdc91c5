"""Trained models in the blob store: what cannot name one reads nothing."""

import errno
from pathlib import Path

import pytest
import torch
from tests._hostile import DIGESTS

from talweg.blobs import Blobs
from talweg.worker.errors import NoModelError
from talweg.worker.storage import trained_models


class Watched(Blobs):
    """Keeps what was read."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.reads: list[str] = []

    def read(self, path: str) -> bytes:
        self.reads.append(path)
        return super().read(path)


def test_by_its_digest_or_as_the_only_one(tmp_path: Path) -> None:
    blobs = Watched(str(tmp_path))
    digest = trained_models.write(blobs, "jobs/a", {"w": torch.ones(2)}, {"model": "mlp"})
    # What else lies there is no model.
    blobs.write("jobs/a/model/README.txt", b"x")
    for given in (digest, ""):
        assert trained_models.read(blobs, "jobs/a", given).description == {"model": "mlp"}
    assert set(blobs.reads) == {f"jobs/a/model/{digest}.safetensors"}


@pytest.mark.parametrize("digest", [each for each in DIGESTS if each])
def test_what_is_no_digest_reads_nothing(tmp_path: Path, digest: str) -> None:
    blobs = Watched(str(tmp_path))
    with pytest.raises(NoModelError, match="sha256 must be 64 hexadecimal digits, but got"):
        trained_models.read(blobs, "jobs/a", digest)
    assert blobs.reads == []


@pytest.mark.parametrize("job", ["", "a", "jobs/..", "jobs/a/../b", "jobs/a\n", "../jobs/a"])
def test_what_is_no_job_reads_nothing(tmp_path: Path, job: str) -> None:
    blobs = Watched(str(tmp_path))
    for digest in ("", "0" * 64):
        with pytest.raises(NoModelError, match="a job's name must be jobs/ID"):
            trained_models.read(blobs, job, digest)
    assert blobs.reads == []


def test_a_model_that_cannot_be_read_is_none_unless_the_store_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = Blobs(str(tmp_path))
    digest = trained_models.write(blobs, "jobs/a", {"w": torch.ones(2)}, {"model": "mlp"})
    file = tmp_path / f"jobs/a/model/{digest}.safetensors"
    file.unlink()
    file.mkdir()
    with pytest.raises(NoModelError, match="cannot be read"):
        trained_models.read(blobs, "jobs/a", digest)

    def away(folder: str) -> list[str]:
        raise PermissionError(errno.EACCES, "no entry")

    monkeypatch.setattr(blobs, "names", away)
    with pytest.raises(PermissionError, match="no entry"):
        trained_models.read(blobs, "jobs/a", digest)
