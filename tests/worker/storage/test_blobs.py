"""The blob store beyond a folder: protocols fail in ways of their own."""

from collections.abc import Iterator
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from talweg.worker.storage.blobs import Blobs


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
