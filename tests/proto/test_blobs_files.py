"""Blobs from files and to files, and parts of them."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from talweg.blobs import Blobs, UnsafePathError


@pytest.fixture(params=["folder", "memory"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    """Return an empty store: a folder, and one that no file system of this machine holds."""
    place = str(tmp_path / "store") if request.param == "folder" else f"memory://{tmp_path.name}"
    return Blobs(place)


@pytest.fixture
def common_umask() -> Iterator[None]:
    """Let files be as most systems let them be: readable by all."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_a_file_goes_in_and_out(blobs: Blobs, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(bytes(range(200)))
    blobs.put("datasets/a/data.arrow", source)
    assert source.exists()
    assert blobs.size("datasets/a/data.arrow") == 200
    assert blobs.read_part("datasets/a/data.arrow", 190, 100) == bytes(range(190, 200))
    assert blobs.read_part("datasets/a/data.arrow", 500, 10) == b""
    target.write_bytes(b"old")
    blobs.get("datasets/a/data.arrow", target)
    assert target.read_bytes() == bytes(range(200))


@pytest.mark.parametrize("mode", [None, 0o750])
def test_a_store_is_its_owners_alone_unless_made_before(
    mode: int | None, tmp_path: Path, common_umask: None
) -> None:
    store, source = tmp_path / "new" / "store", tmp_path / "source"
    source.write_bytes(b"content")
    if mode is not None:
        store.mkdir(parents=True)
        store.chmod(mode)
    Blobs(str(store)).put("datasets/a/data.arrow", source)
    Blobs(str(store)).write("jobs/a/model/b", b"content")
    assert oct(store.stat().st_mode & 0o777) == oct(mode or 0o700)


def test_what_is_missing_leaves_the_target(blobs: Blobs, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"old")
    with pytest.raises(FileNotFoundError):
        blobs.get("datasets/none", target)
    with pytest.raises(FileNotFoundError):
        blobs.size("datasets/none")
    with pytest.raises(FileNotFoundError):
        blobs.read_part("datasets/none", 0, 1)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["target"]
    assert target.read_bytes() == b"old"


def test_no_path_leads_out(blobs: Blobs, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x")
    for path in ("../x", "/etc/x", "a/../../x"):
        with pytest.raises(UnsafePathError):
            blobs.put(path, source)
        with pytest.raises(UnsafePathError):
            blobs.get(path, source)
        with pytest.raises(UnsafePathError):
            blobs.local(path)


def test_a_folders_files_are_on_this_machine(tmp_path: Path) -> None:
    assert Blobs(str(tmp_path)).local("a/b") == tmp_path / "a" / "b"
    assert Blobs("memory://x").local("a/b") is None


def test_the_last_write_is_that_of_the_newest_file(tmp_path: Path) -> None:
    blobs = Blobs(str(tmp_path))
    assert blobs.last_write("jobs/none") is None
    blobs.write("jobs/a/model/old", b"1")
    blobs.write("jobs/a/checkpoints/new", b"22")
    for path, seconds in (("jobs/a/model/old", 1e9), ("jobs/a/checkpoints/new", 1.5e9)):
        os.utime(tmp_path / path, (seconds, seconds))
    written = blobs.last_write("jobs/a")
    assert written is not None
    assert (written[0].timestamp(), written[1]) == (1.5e9, 3)
    (tmp_path / "jobs" / "empty").mkdir()
    os.utime(tmp_path / "jobs" / "empty", (1e9, 1e9))
    empty = blobs.last_write("jobs/empty")
    assert empty is not None
    assert (empty[0].timestamp(), empty[1]) == (1e9, 0)
