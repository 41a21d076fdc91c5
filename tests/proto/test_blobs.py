"""The blob store beyond a folder: protocols fail in ways of their own."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from tests._hostile import PATHS

from talweg.blobs import Blobs, UnsafePathError


class AwayError(Exception):
    """What a protocol raises for a store that cannot be reached; no OSError."""


class Remote(MemoryFileSystem):  # type: ignore[misc]
    """A store that can be away."""

    protocol = "remote"
    store: dict[str, Any] = {}
    pseudo_dirs = [""]
    is_away = False

    def _reach(self) -> None:
        if Remote.is_away:
            raise AwayError("no route to it")

    def pipe_file(self, path: str, value: bytes, **more: Any) -> None:
        self._reach()
        super().pipe_file(path, value, **more)

    def cat_file(self, path: str, **more: Any) -> bytes:
        self._reach()
        return bytes(super().cat_file(path, **more))

    def ls(self, path: str, **more: Any) -> Any:
        self._reach()
        return super().ls(path, **more)

    def rm_file(self, path: str) -> None:
        self._reach()
        super().rm_file(path)


@pytest.fixture
def remote() -> Iterator[Blobs]:
    fsspec.register_implementation("remote", Remote, clobber=True)
    yield Blobs("remote://bucket/folder")
    Remote.is_away = False
    Remote.store.clear()


def test_a_store_that_is_no_folder_keeps_files(remote: Blobs) -> None:
    remote.write("jobs/a/one", b"1")
    remote.write("jobs/a/one", b"2")
    assert remote.read("jobs/a/one") == b"2"
    assert remote.names("jobs/a") == ["one"]
    remote.remove("jobs/a/one")
    assert remote.names("jobs/a") == []
    with pytest.raises(FileNotFoundError):
        remote.read("jobs/a/one")


def test_whatever_a_protocol_raises_comes_as_an_error_of_files(remote: Blobs) -> None:
    remote.write("jobs/a/one", b"1")
    Remote.is_away = True
    for use in (
        lambda: remote.write("jobs/a/two", b"2"),
        lambda: remote.read("jobs/a/one"),
        lambda: remote.names("jobs/a"),
    ):
        with pytest.raises(OSError, match="AwayError: no route to it"):
            use()
    remote.remove("jobs/a/one")
    Remote.is_away = False
    assert remote.names("jobs/a") == ["one"]


def calls(blobs: Blobs, path: str) -> list[Callable[[], object]]:
    return [
        lambda: blobs.write(path, b"mine"),
        lambda: blobs.read(path),
        lambda: blobs.remove(path),
        lambda: blobs.names(path),
    ]


@pytest.mark.parametrize("path", PATHS)
def test_no_path_leads_out_of_a_folder(tmp_path: Path, path: str) -> None:
    store, victim = tmp_path / "data" / "blobs", tmp_path / "victim"
    for file in (victim, tmp_path / "data" / "victim", store / "jobs" / "a" / "victim"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"theirs")
    before = sorted(tmp_path.rglob("*"))
    for call in calls(Blobs(str(store)), path):
        with pytest.raises(UnsafePathError, match="a blob's path must be"):
            call()
    assert sorted(tmp_path.rglob("*")) == before
    assert victim.read_bytes() == b"theirs"


@pytest.mark.parametrize("path", PATHS)
def test_no_path_leads_out_of_another_store(remote: Blobs, path: str) -> None:
    other = Blobs("remote://bucket")
    other.write("victim", b"theirs")
    for call in calls(remote, path):
        with pytest.raises(UnsafePathError):
            call()
    assert other.read("victim") == b"theirs"


@pytest.mark.parametrize("path", ["out/victim", "jobs/a/victim", "jobs/a/up/victim", "out"])
def test_no_link_leads_out_of_a_folder(tmp_path: Path, path: str) -> None:
    store, outside = tmp_path / "blobs", tmp_path / "outside"
    (store / "jobs" / "a").mkdir(parents=True)
    outside.mkdir()
    (outside / "victim").write_bytes(b"theirs")
    (store / "out").symlink_to(outside)
    (store / "jobs" / "a" / "victim").symlink_to(outside / "victim")
    (store / "jobs" / "a" / "up").symlink_to("../../../outside")
    for call in calls(Blobs(str(store)), path):
        with pytest.raises(UnsafePathError, match="leads out of the blob store"):
            call()
    assert [each.name for each in outside.iterdir()] == ["victim"]
    assert (outside / "victim").read_bytes() == b"theirs"


def test_the_store_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk" / "shared").mkdir(parents=True)
    (tmp_path / "blobs").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "within").symlink_to("shared")
    blobs = Blobs(str(tmp_path / "blobs"))
    blobs.write("jobs/a/one", b"1")
    blobs.write("within/two", b"2")
    assert blobs.read("jobs/a/one") == (tmp_path / "disk/jobs/a/one").read_bytes() == b"1"
    assert blobs.names("shared") == ["two"]
    blobs.remove("within/two")
    assert blobs.names("shared") == []
