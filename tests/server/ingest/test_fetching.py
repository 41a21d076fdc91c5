"""Files that are copied before they are read: changed under way, too large, or elsewhere."""

import json
import os
import resource
from pathlib import Path
from typing import IO, Any

import fsspec
import pytest

from talweg.ingest.fetching import fetch, local
from talweg.ingest.fetching.folder import Member
from talweg.ingest.fetching.remote import RemoteFolder, RemoteSource
from talweg.ingest.fetching.source import CannotFetchError
from talweg.server.errors import DiskFull
from talweg.server.services.stored_datasets.fetching import _found
from talweg.server.services.stored_datasets.processes import Ended
from talweg.spec.stored.uris import DataUri, parse_root, parse_uri

URI = parse_uri("s3://bucket/houses.csv")
MOST = 1000


class Changing(local.LocalSource):
    """A file that somebody writes to once it was opened."""

    def __init__(self, path: Path, change: bytes) -> None:
        self.path, self.change = path, change
        super().__init__(os.open(path, os.O_RDONLY))

    def open(self) -> IO[bytes]:
        self.path.write_bytes(self.change)
        return super().open()


@pytest.mark.parametrize("change", [b"a,b\n1,2\n3,4\n", b"a,b\n1,3\n", b"a,b\n", b""])
def test_a_file_that_changes_is_refused(tmp_path: Path, change: bytes) -> None:
    path = tmp_path / "houses.csv"
    path.write_bytes(b"a,b\n1,2\n")
    with pytest.raises(CannotFetchError, match="has changed while it was read"):
        fetch._fetched(Changing(path, change), URI, tmp_path / "copy", MOST)


@pytest.fixture
def memory() -> Any:
    files = fsspec.filesystem("memory")
    files.store.clear()
    files.pipe_file("/bucket/houses.csv", b"a,b\n1,2\n")
    return files


def test_an_object_that_changes_is_refused(tmp_path: Path, memory: Any) -> None:
    source = RemoteSource(memory, "/bucket/houses.csv")
    answer = fetch._fetched(source, URI, tmp_path / "copy", MOST)
    assert (tmp_path / "copy").read_bytes() == b"a,b\n1,2\n"
    assert (answer["num_bytes"], len(answer["sha256"])) == (8, 64)
    memory.pipe_file("/bucket/houses.csv", b"a,b\n1,3\n")
    with pytest.raises(CannotFetchError, match="has changed while it was read"):
        fetch._fetched(source, URI, tmp_path / "other", MOST)


@pytest.mark.parametrize("key", ["photos/../x.png", "photos/./x.png", "photos//x.png"])
def test_a_key_that_is_no_path_is_refused(memory: Any, key: str) -> None:
    memory.pipe_file("/bucket/photos/a.png", b"x")
    memory.store[f"/bucket/{key}"] = memory.store["/bucket/photos/a.png"]
    with pytest.raises(CannotFetchError, match="with the key"):
        RemoteFolder(memory, "/bucket/photos")


class Shrinking(local.LocalFolder):
    """A folder of which a file is cut once it was listed."""

    def _open(self, member: Member) -> IO[bytes]:
        Path("shrinks/b").write_bytes(b"x")
        return super()._open(member)


def test_a_folder_that_changes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, size in (("a", 10), ("b", 600)):
        (tmp_path / "shrinks").mkdir(exist_ok=True)
        (tmp_path / "shrinks" / name).write_bytes(bytes(size))
    folder = os.open(tmp_path / "shrinks", os.O_RDONLY)
    with pytest.raises(CannotFetchError, match="has changed while it was read"):
        fetch._fetched(Shrinking(URI, folder), URI, tmp_path / "copy", 100 * MOST)
    os.close(folder)


def test_a_folder_that_becomes_a_link_is_not_followed(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    for folder in (root, outside):
        folder.mkdir()
        (folder / "x.csv").write_text("a\n1\n")
    (root / "link").symlink_to(outside)
    (root / "x-link.csv").symlink_to(outside / "x.csv")
    # As where the path was looked at before the links were made.
    for parts in (("link", "x.csv"), ("x-link.csv",)):
        with pytest.raises(OSError, match="Not a directory|symbolic links"):
            local._opened(root, parts)
    os.close(local._opened(root, ("x.csv",)))


def test_a_root_that_is_not_there_and_one_that_is_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "x.csv").write_text("a\n1\n")
    (tmp_path / "link").symlink_to("real")
    uri = (tmp_path / "link" / "x.csv").as_uri()
    answer = fetch.fetch(uri, str(parse_root(str(tmp_path / "link"))), None, max_bytes=MOST)
    assert answer["num_bytes"] == 4
    gone = DataUri("file", "", ("nowhere", "x.csv"))
    answer = fetch.fetch(str(gone), "file:///nowhere", None, max_bytes=MOST)
    assert "the data root file:///nowhere, which is not there" in answer["problem"]["found"]


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: Any, **__: Any) -> Any:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec, "filesystem", missing)
    answer = fetch.fetch(str(URI), "s3://bucket", None, max_bytes=MOST)
    assert "lacks the package s3fs" in answer["problem"]["found"]
    assert "pip install" in answer["problem"]["hint"]


def test_credentials_of_a_store_are_neither_told_nor_logged(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refusing(*_: Any, **__: Any) -> Any:
        # As botocore says it.
        raise ValueError("Invalid endpoint: http://user:se/cr@et@store: a space")

    monkeypatch.setattr(fsspec, "filesystem", refusing)
    answer = fetch.fetch(str(URI), "s3://bucket", None, max_bytes=MOST)
    said = "ValueError: Invalid endpoint: http://…@store: a space"
    assert said in answer["problem"]["found"]
    logged = capsys.readouterr().err
    assert said in logged
    assert "Traceback" in logged
    assert "se/cr" not in logged


def test_a_disk_without_room_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b"x" * 10_000)
    uri = parse_uri((tmp_path / "x.csv").as_uri())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        answer = fetch.fetch(str(uri), "file:///", tmp_path / "copy", max_bytes=MOST * 10)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    with pytest.raises(DiskFull, match="make room in TALWEG_UPLOADS and submit again"):
        _found(uri, Ended(0, json.dumps(answer).encode(), b""), 60)
