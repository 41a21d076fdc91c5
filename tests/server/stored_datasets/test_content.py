"""The content of data sets in the blob store: where it lies, and when it goes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from sqlalchemy import update
from tests.server.samples import Rules

from talweg.blobs import Blobs
from talweg.server.errors import BlobsUnavailable
from talweg.server.services.stored_datasets import storage as module
from talweg.server.services.stored_datasets.deletion import DatasetDeletionService
from talweg.server.services.stored_datasets.storage import DatasetStorage
from talweg.server.services.stored_datasets.views import row_of
from talweg.server.store import stored_datasets
from talweg.server.store.record import schema
from talweg.server.store.record.scope import acting_in
from talweg.spec.stored import DatasetName
from talweg.v1.stored_datasets_pb2 import StoredDataset


def described(info: StoredDataset, folder: Path) -> Path:
    """Write a description as the reader of files does."""
    file = folder / "info.json"
    file.write_text(json_format.MessageToJson(info, preserving_proto_field_name=True))
    return file


async def test_content_goes_with_the_last_name_that_refers_to_it(
    rules: Rules, tmp_path: Any
) -> None:
    storage = DatasetStorage(rules.database, str(tmp_path / "blobs"))
    service = DatasetDeletionService(rules.database, storage)
    data = tmp_path / "data.arrow"
    data.write_bytes(b"x" * 10)
    info = StoredDataset(digest="ab" * 32, num_samples=1)
    for name in ("one", "two"):
        await storage.store(row_of(name, "key", info), described(info, tmp_path), data)
    folder = tmp_path / "blobs" / "datasets" / info.digest
    assert sorted(path.name for path in folder.iterdir()) == ["data.arrow", "info.json"]
    await service.delete("one", force=False)
    assert folder.exists()
    await service.delete("two", force=False)
    assert not folder.exists()
    # And it can be stored anew.
    await storage.store(row_of("one", "key", info), described(info, tmp_path), data)
    assert folder.exists()


async def test_content_lies_and_goes_with_its_project(rules: Rules, tmp_path: Any) -> None:
    storage = DatasetStorage(rules.database, str(tmp_path / "blobs"))
    service = DatasetDeletionService(rules.database, storage)
    data = tmp_path / "data.arrow"
    data.write_bytes(b"x" * 10)
    info = StoredDataset(digest="ab" * 32, num_samples=1)
    root = tmp_path / "blobs" / "datasets" / info.digest
    own = tmp_path / "blobs" / "projects" / "vision" / "datasets" / info.digest

    one = DatasetName("one", info.digest)

    async def store(project: str, name: str = "one") -> None:
        with acting_in(project):
            await storage.store(row_of(name, "key", info), described(info, tmp_path), data)

    async def remove(project: str, name: str = "one") -> None:
        with acting_in(project):
            await service.delete(name, force=False)

    await store("default")
    await store("vision")
    assert root.exists()
    assert own.exists()
    await remove("default")
    assert not root.exists()
    assert own.exists()
    # One of before, which the root holds for both, until it is deleted and stored anew.
    await store("default")
    with rules.database.write() as tx:
        tx.connection.execute(update(schema.stored_datasets).values(stored_in="default"))
    await storage.remove_unreferenced()
    with rules.database.read() as connection:
        assert stored_datasets.at_root(connection, "vision", [one]) == [info.digest]
        assert stored_datasets.at_root(connection, "speech", [one]) == []
    await remove("default")
    assert root.exists(), "vision reads it there"
    # Jobs that have begun were sent there: the same content again leaves it as it is.
    await store("vision")
    await storage.remove_unreferenced()
    assert root.exists()
    assert not own.exists()
    # Under another name it lies in the project's part, and each is looked for where it lies.
    await store("vision", "two")
    with rules.database.read() as connection:
        assert stored_datasets.at_root(connection, "vision", [one]) == [info.digest]
        assert stored_datasets.at_root(connection, "vision", [replace(one, name="two")]) == []
    await remove("vision")
    assert not root.exists()
    assert own.exists()
    await remove("vision", "two")
    assert not own.exists()


async def test_content_of_a_server_that_died_is_removed(
    rules: Rules, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = DatasetStorage(rules.database, str(tmp_path / "blobs"))
    data = tmp_path / "data.arrow"
    data.write_bytes(b"x" * 10)
    info = StoredDataset(digest="ab" * 32, num_samples=1)
    folder = tmp_path / "blobs" / "datasets" / info.digest

    # It dies between the content and the record.
    def dies(*_: Any) -> Any:
        raise RuntimeError("dead")

    with monkeypatch.context() as patched:
        patched.setattr(module, "_record", dies)
        with pytest.raises(RuntimeError, match="dead"):
            await storage.store(row_of("one", "key", info), described(info, tmp_path), data)
    assert folder.exists()
    await storage.remove_unreferenced()
    assert folder.exists(), "another server may be about to record it"
    monkeypatch.setattr(module, "_UNRECORDED", -1)
    with monkeypatch.context() as patched:
        patched.setattr(module, "_record", dies)
        with pytest.raises(RuntimeError, match="dead"):
            await storage.store(row_of("one", "key", info), described(info, tmp_path), data)
    with rules.database.write() as tx:
        tx.connection.execute(update(schema.unreferenced).values(due=0))

    # The store is away: it is tried again.
    with monkeypatch.context() as patched:
        patched.setattr(Blobs, "remove_folder", _away)
        with pytest.raises(BlobsUnavailable):
            await storage.remove_unreferenced()
    assert folder.exists()
    await storage.remove_unreferenced()
    assert not folder.exists()


def _away(*_: Any) -> None:
    raise OSError("away")
