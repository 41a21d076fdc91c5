"""Data of one's own: uploaded from files, folders, frames and arrays, and named by jobs."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tests.client.faulty import FaultyServer
from tests.client.worker import Worker

from talweg.client import Client, FailedPrecondition, InvalidRequest, InvalidSpec, NotFound
from talweg.v1.stored_datasets_pb2 import DataColumn

TABLE = "size,town,price\n" + "".join(
    f"{30 + n},{'Bern' if n % 3 else 'Chur'},{100 + n * 1.5}\n" for n in range(60)
)
JOB: dict[str, Any] = {
    "task": "regression", "model": {"mlp": {"hidden": [4]}}, "loss": "mse",
    "training": {"epochs": 1},
}  # fmt: skip
EMBEDDINGS: dict[str, Any] = {
    "task": "self_supervised", "model": {"embedder": {"size": 4}}, "loss": "nt_xent",
}  # fmt: skip


@pytest.fixture
def service(faulty: FaultyServer) -> FaultyServer:
    """One server is enough: each reads files in a process of their own, which takes a while."""
    return faulty


@pytest.fixture
def houses(tmp_path: Path) -> Path:
    file = tmp_path / "houses.csv"
    file.write_text(TABLE)
    return file


def of(path: Path, **roles: Any) -> dict[str, Any]:
    return {**JOB, "dataset": {"file": {"path": str(path), **roles}}}


def test_a_file_is_stored_once_under_its_name(client: Client, houses: Path) -> None:
    sent: list[tuple[int, int]] = []
    stored = client.upload(houses, on_progress=lambda *each: sent.append(each))
    assert sent[-1] == (len(TABLE), len(TABLE))
    assert (stored.name, stored.num_samples) == ("houses", 60)
    assert [column.name for column in stored.columns] == ["size", "town", "price"]
    again = client.upload(str(houses))
    assert again.version == stored.version
    assert [each.version for each in client.stored_datasets(name="houses")] == [stored.version]
    assert client.stored_dataset("houses").digest == stored.digest
    assert client.stored_dataset(stored.version).message.preview
    houses.write_text(TABLE + "99,Chur,1\n")
    newer = client.upload(houses)
    assert client.stored_dataset("houses").digest == newer.digest != stored.digest
    client.delete_stored_dataset("houses")
    with pytest.raises(NotFound):
        client.stored_dataset("houses")


def test_frames_and_arrays_are_what_they_are_in_memory(client: Client) -> None:
    frame = pd.DataFrame({"a": [1.5, None, 3.0], "when": pd.date_range("2024-01-01", periods=3)})
    stored = client.upload(frame, name="frame")
    assert [column.type for column in stored.columns] == [DataColumn.NUMBER, DataColumn.DATE]
    assert stored.columns[0].num_missing == 1
    named = client.upload(frame.set_index("when"), name="indexed")
    assert {column.name for column in named.columns} == {"a", "when"}
    arrays = {"x": np.zeros((5, 1, 4, 4), np.float32), "mask": np.ones((5, 4, 4), np.int64)}
    stored = client.upload(arrays, name="scenes")
    assert {column.name: list(column.shape) for column in stored.columns} == {
        "x": [1, 4, 4],
        "mask": [4, 4],
    }
    with pytest.raises(InvalidRequest, match="needs a name"):
        client.upload(frame)
    with pytest.raises(InvalidRequest, match="but got int"):
        client.upload(3, name="three")
    with pytest.raises(InvalidRequest, match="but got dict with 'y', a list"):
        client.upload({"x": np.zeros((2, 3)), "y": [1, 2]}, name="lists")
    with pytest.raises(InvalidRequest, match=r"cannot be written as Parquet: .*column a"):
        client.upload(pd.DataFrame({"a": [1, "x", None]}), name="mixed")
    with pytest.raises(InvalidRequest, match="arrays x hold Python objects"):
        client.upload({"x": np.array([{}])}, name="objects")


def test_a_folder_of_images(client: Client, tmp_path: Path) -> None:
    folder = tmp_path / "pets"
    for name, shade in (("cats", 40), ("dogs", 200)):
        (folder / name).mkdir(parents=True)
        for number in range(3):
            image = Image.new("RGB", (6, 5), (shade, number, 0))
            image.save(folder / name / f"{number}.png")
    (folder / ".DS_Store").write_bytes(b"junk")
    stored = client.upload(folder)
    columns = {column.name: column for column in stored.columns}
    assert list(columns["image"].shape) == [3, 5, 6]
    assert [value.value for value in columns["label"].values] == ["cats", "dogs"]
    # Without their labels, and by them.
    for target, arrays in (("", ["x"]), ("label", ["x", "y"])):
        dataset = {"stored": {"name": "pets", **({"target": target} if target else {})}}
        spec = {**EMBEDDINGS, "dataset": dataset}
        job = client.submit(spec, validate_only=True)
        assert list(job.spec.dataset.stored.facts.arrays) == arrays
    by_classes = {"task": "metric_learning", "loss": "supcon", "dataset": {"stored": "pets"}}
    with pytest.raises(InvalidSpec, match="dataset.stored.target"):
        client.submit({**EMBEDDINGS, **by_classes})
    (folder / "cats" / "3.png").write_bytes(b"no image")
    with pytest.raises(InvalidRequest, match="cats/3.png"):
        client.upload(folder)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InvalidRequest, match="no files"):
        client.upload(empty)


def test_a_job_names_a_file_which_is_uploaded_once(
    client: Client, worker: Worker, houses: Path
) -> None:
    jobs = client.submit_many([of(houses, target="price"), of(houses, target="size")])
    sources = [job.message.spec.dataset.stored for job in jobs]
    assert sources[0].digest == sources[1].digest == client.stored_dataset("houses").digest
    assert [source.name for source in sources] == ["houses", "houses"]
    assert list(sources[0].facts.shape) == [1 + 3]
    claimed = worker.claim()
    assert claimed.spec.dataset.stored.digest == sources[0].digest
    with pytest.raises(FailedPrecondition, match="cannot be deleted"):
        client.delete_stored_dataset("houses", force=True)
    for job in jobs:
        job.cancel(force=True)


def test_a_path_is_relative_to_its_job_file(
    client: Client, houses: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = houses.parent / "job.yaml"
    file.write_text(
        "task: regression\ndataset: {file: {path: houses.csv, target: price}}\n"
        "model: mlp\nloss: mse\n"
    )
    monkeypatch.chdir("/")
    job = client.submit(file, validate_only=True)
    assert job.message.spec.dataset.stored.name == "houses"


@pytest.mark.parametrize(
    ("content", "roles", "text"),
    [
        (None, {}, "dataset.file.path: found '.*none.csv': No such file"),
        (TABLE, {"target": "prize"}, "did you mean 'price'"),
        ("a,b\n1,2\n3,x\n4,5\n", {"target": "a"}, 'column "b", row 2: found "x"'),
        ("", {"target": "a"}, "none.csv"),
    ],
)
def test_files_that_cannot_be_read_are_refused_with_their_places(
    client: Client, tmp_path: Path, content: str | None, roles: dict[str, str], text: str
) -> None:
    file = tmp_path / "none.csv"
    if content is not None:
        file.write_text(content)
    with pytest.raises(InvalidSpec, match=text):
        client.submit(of(file, **roles))


def test_unknown_options_are_refused_before_anything_is_sent(client: Client, houses: Path) -> None:
    with pytest.raises(InvalidRequest, match="did you mean 'delimiter'"):
        client.upload(houses, name="unsent", read={"delimeter": ";"})
    assert not list(client.stored_datasets(name="unsent"))


def test_pipes_and_devices_are_not_waited_for(client: Client, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    for path in (tmp_path / "pipe.csv", Path("/dev/zero")):
        with pytest.raises(InvalidRequest, match="write it to a file first"):
            client.upload(path)
