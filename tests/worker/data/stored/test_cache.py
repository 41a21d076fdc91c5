"""Stored data in a store on another machine, fetched once; and what is wrong with a store."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import numpy as np
import pytest
from tests.worker.data.stored.storing import job_on, store_table

from talweg.blobs import Blobs
from talweg.v1.stored_datasets_pb2 import StoredDataset
from talweg.worker import data
from talweg.worker.data.stored.cache import DamagedDataError, DataCache
from talweg.worker.data.stored.opening import open_dataset
from talweg.worker.errors import StoreAwayError, UserSpecError

ROWS = 20


def stored(folder: Path, *, shift: float = 0) -> StoredDataset:
    x = [float(row) + shift for row in range(ROWS)]
    return store_table(folder, {"x": x, "y": [value**2 for value in x]})


class Counting(Blobs):
    """Counts what is fetched, and damages the first copies."""

    def __init__(self, folder: Path, *, damaged: int = 0) -> None:
        super().__init__(str(folder))
        self.fetched: list[str] = []
        self._damaged = damaged

    def get(self, path: str, target: Path) -> None:
        super().get(path, target)
        self.fetched.append(path)
        if path.endswith(".arrow") and self._damaged:
            self._damaged -= 1
            with target.open("r+b") as file:
                file.seek(100)
                file.write(b"damaged")


@pytest.fixture
def cache(tmp_path: Path) -> DataCache:
    return DataCache(tmp_path / "cache", most_bytes=2**30)


def use(cache: DataCache, blobs: Blobs, info: StoredDataset, *, project: str = "default") -> bytes:
    with cache.opened(blobs, info.digest, lambda _: info.data_sha256, project=project) as folder:
        return (folder / "data.arrow").read_bytes()


def whole(store: Path, info: StoredDataset) -> bytes:
    return (store / "datasets" / info.digest / "data.arrow").read_bytes()


def test_a_copy_is_fetched_once(store: Path, cache: DataCache) -> None:
    info, blobs = stored(store), Counting(store)
    assert use(cache, blobs, info) == use(cache, blobs, info) == whole(store, info)
    assert len(blobs.fetched) == 2


def test_a_copy_is_for_its_project_alone(store: Path, cache: DataCache) -> None:
    info, blobs = stored(store), Counting(store)
    for project in ("default", "vision", "default", "vision"):
        assert use(cache, blobs, info, project=project) == whole(store, info)
    assert len(blobs.fetched) == 4
    with pytest.raises(FileNotFoundError):
        use(cache, Counting(store / "elsewhere"), info, project="speech")


def test_a_damaged_copy_is_fetched_again_once(store: Path, cache: DataCache) -> None:
    info, blobs = stored(store), Counting(store, damaged=1)
    assert use(cache, blobs, info) == whole(store, info)
    assert len(blobs.fetched) == 4
    with pytest.raises(DamagedDataError, match="is not what was stored"):
        use(DataCache(cache.folder / "other", 0), Counting(store, damaged=2), info)


def test_a_copy_that_was_changed_is_fetched_anew(store: Path, cache: DataCache) -> None:
    info, blobs = stored(store), Counting(store)
    use(cache, blobs, info)
    file = cache.folder / info.digest / "data.arrow"
    file.write_bytes(file.read_bytes()[:-10])
    assert use(cache, blobs, info) == whole(store, info)
    # One of the same content, written anew, is checked and stays.
    file.write_bytes(whole(store, info))
    assert use(cache, blobs, info) == whole(store, info)
    assert len(blobs.fetched) == 4


def test_the_least_recently_used_copies_go_first(store: Path, cache: DataCache) -> None:
    blobs = Counting(store)
    infos = [stored(store, shift=shift) for shift in range(3)]
    for age, info in enumerate(infos):
        use(cache, blobs, info)
        os.utime(cache.folder / info.digest, ns=(age * 10**9, age * 10**9))
    use(cache, blobs, infos[0])
    size = sum(file.stat().st_size for file in (cache.folder / infos[0].digest).iterdir())
    small = DataCache(cache.folder, most_bytes=2 * size + size // 2)
    use(small, blobs, infos[0])
    copies = {path.name for path in cache.folder.iterdir() if not path.name.startswith(".")}
    assert copies == {infos[0].digest, infos[2].digest}
    # What is in use stays, however large.
    use(DataCache(cache.folder, most_bytes=0), blobs, infos[2])
    copies = {path.name for path in cache.folder.iterdir() if not path.name.startswith(".")}
    assert copies == {infos[2].digest}


def test_workers_of_a_machine_share_a_copy(store: Path, cache: DataCache) -> None:
    # A lock of a file is that of whoever opened it, be it a process or a thread.
    info, blobs = stored(store), Counting(store)
    with ThreadPoolExecutor(4) as workers:
        copies = list(workers.map(lambda _: use(cache, blobs, info), range(4)))
    assert set(copies) == {whole(store, info)}
    assert len(blobs.fetched) == 2


@pytest.fixture
def far_store(store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The store, as one that is on another machine."""
    memory = fsspec.filesystem("memory")
    monkeypatch.setenv("TALWEG_BLOBS", "memory://far")
    yield store
    memory.rm("/far", recursive=True)


def test_a_job_reads_a_far_store_through_the_cache(far_store: Path, tmp_path: Path) -> None:
    info = stored(far_store)
    fsspec.filesystem("memory").put(f"{far_store}/datasets", "/far/datasets", recursive=True)
    bundle = data.load(job_on(info, "regression", {"target": "y"}))
    assert len(bundle.train) == 12
    assert (tmp_path / "cache" / info.digest / "data.arrow").is_file()
    other = stored(far_store, shift=0.5)
    with pytest.raises(UserSpecError, match=r"data set houses@\w{8} is gone from the store"):
        open_dataset(job_on(other, "regression", {"target": "y"}).dataset.stored)


def test_a_cache_that_cannot_be_written_is_not_said_to_be_the_store(
    far_store: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    info = stored(far_store)
    fsspec.filesystem("memory").put(f"{far_store}/datasets", "/far/datasets", recursive=True)
    source = job_on(info, "regression", {"target": "y"}).dataset.stored
    (tmp_path / "a file").touch()
    monkeypatch.setenv("TALWEG_DATA_CACHE", str(tmp_path / "a file" / "cache"))
    with pytest.raises(StoreAwayError, match="set TALWEG_DATA_CACHE to a folder"):
        open_dataset(source)


def test_a_data_set_that_is_gone_is_the_users_to_mend(store: Path) -> None:
    info = stored(store)
    source = job_on(info, "regression", {"target": "y"}).dataset.stored
    (store / "datasets" / info.digest / "data.arrow").unlink()
    with pytest.raises(UserSpecError, match="is gone from the store: .* Upload the file again"):
        open_dataset(source)


def test_a_data_set_that_is_damaged_is_so_too(store: Path) -> None:
    info = stored(store)
    source = job_on(info, "regression", {"target": "y"}).dataset.stored
    assert open_dataset(source).columns.numbers("x").tolist() == list(range(ROWS))
    file = store / "datasets" / info.digest / "data.arrow"
    content = file.read_bytes()
    # One bit of a number, which is a number too.
    at = content.index(np.float64(17).tobytes()) + 6
    flipped = bytes([content[at] ^ 1])
    for changed in (content[:-100], content[:at] + flipped + content[at + 1 :]):
        file.write_bytes(changed)
        with pytest.raises(UserSpecError, match=r"damaged in the store: data\.arrow has changed"):
            open_dataset(source)
    file.write_bytes(content)
    assert open_dataset(source).columns.numbers("x").tolist() == list(range(ROWS))


def test_a_store_that_is_away_is_waited_for(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = stored(store)
    source = job_on(info, "regression", {"target": "y"}).dataset.stored
    monkeypatch.setenv("TALWEG_BLOBS", str(store / "not mounted"))
    with pytest.raises(StoreAwayError, match="is not there"):
        open_dataset(source)
    monkeypatch.setenv("TALWEG_BLOBS", "nosuchprotocol://bucket")
    with pytest.raises(StoreAwayError, match="cannot be used"):
        open_dataset(source)
