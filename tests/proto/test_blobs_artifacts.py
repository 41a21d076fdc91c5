"""The files of jobs in the blob store: what workers write is what servers read."""

import hashlib
import json
from pathlib import Path

import pytest

from talweg.blobs import (
    PICTURES,
    TRAINING,
    Blobs,
    DamagedListError,
    UnsafePathError,
    has_part,
    read_artifacts,
    write_artifacts,
)

JOB = "jobs/a"


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(str(tmp_path / "blobs"))


def test_files_are_listed_with_their_sizes_and_digests(blobs: Blobs, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"weights")
    write_artifacts(blobs, JOB, 1, TRAINING, {"model/w.bin": source, "job.yaml": b""})
    stored = read_artifacts(blobs, JOB, last=1)
    assert [(each.path, each.num_bytes) for each in stored.files] == [
        ("job.yaml", 0),
        ("model/w.bin", 7),
    ]
    assert [each.sha256 for each in stored.files] == [
        hashlib.sha256(content).hexdigest() for content in (b"", b"weights")
    ]
    assert blobs.read(stored.files[1].blob) == b"weights"


def test_the_last_attempt_that_counts_wins(blobs: Blobs) -> None:
    for attempt in (1, 2, 10, 11):
        files = {"log": f"{attempt}".encode(), f"of/{attempt}": b""}
        write_artifacts(blobs, JOB, attempt, TRAINING, files)
    stored = read_artifacts(blobs, JOB, last=10)
    assert [each.path for each in stored.files] == ["log", "of/1", "of/10", "of/2"]
    assert blobs.read(stored.files[0].blob) == b"10"
    assert list(stored.attempts) == [1, 2, 10]


def test_a_part_that_is_to_follow_is_awaited_until_it_is_there(blobs: Blobs) -> None:
    write_artifacts(blobs, JOB, 1, TRAINING, {"a": b""}, awaits=[PICTURES])
    assert read_artifacts(blobs, JOB, last=1).awaits == {PICTURES}
    assert not has_part(blobs, JOB, 1, PICTURES)
    write_artifacts(blobs, JOB, 1, PICTURES, {})
    assert has_part(blobs, JOB, 1, PICTURES)
    assert not read_artifacts(blobs, JOB, last=1).awaits


def test_files_without_a_list_do_not_count(blobs: Blobs) -> None:
    blobs.write("jobs/a/artifacts/1/training/model/w.bin", b"half of a part")
    stored = read_artifacts(blobs, JOB, last=1)
    assert not stored.files
    assert not stored.attempts


def test_a_job_that_has_left_nothing_has_no_files(blobs: Blobs) -> None:
    assert not read_artifacts(blobs, JOB, last=3).files


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"[]",
        b'{"format": 2, "files": [], "awaits": []}',
        b'{"format": 1, "files": [], "awaits": "x"}',
        b'{"format": 1, "files": [{"path": "a"}], "awaits": []}',
        b'{"format": 1, "files": 3, "awaits": []}',
    ],
)
def test_a_list_that_cannot_be_read_is_said(blobs: Blobs, content: bytes) -> None:
    blobs.write("jobs/a/artifacts/1/training.json", content)
    with pytest.raises(DamagedListError, match=r"jobs/a/artifacts/1/training\.json"):
        read_artifacts(blobs, JOB, last=1)


@pytest.mark.parametrize("path", ["../../b/secret", "/etc/passwd", ".hidden", "a/../b", ""])
def test_a_list_that_others_wrote_leads_nowhere_else(blobs: Blobs, path: str) -> None:
    entry = {"path": path, "bytes": 1, "sha256": "0" * 64}
    content = json.dumps({"format": 1, "files": [entry], "awaits": []})
    blobs.write("jobs/a/artifacts/1/training.json", content.encode())
    with pytest.raises(DamagedListError, match="no file's path"):
        read_artifacts(blobs, JOB, last=1)
    with pytest.raises(UnsafePathError):
        write_artifacts(blobs, JOB, 2, TRAINING, {path: b""})


def test_a_file_that_is_read_stays_readable_where_it_is_removed(blobs: Blobs) -> None:
    blobs.write("jobs/a/x", b"0123456789")
    with blobs.reading("jobs/a/x") as read:
        assert read(0, 4) == b"0123"
        blobs.remove_folder("jobs/a")
        assert read(8, 4) == b"89"
        assert read(10, 4) == b""
