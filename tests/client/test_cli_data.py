"""`talweg data`, `talweg init`, and recommendations for stored data."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.client.commands import Talweg
from tests.client.faulty import FaultyServer

from talweg.client import Client, read_jobs
from talweg.v1.jobs_pb2 import Warning

TABLE = "size,town,price,who\n" + "".join(
    f"{30 + n},{'Bern' if n % 5 else 'Chur'},{100 + n * 1.5},person {n}\n" for n in range(200)
)


@pytest.fixture
def service(faulty: FaultyServer) -> FaultyServer:
    """One server is enough: each reads files in a process of their own, which takes a while."""
    return faulty


@pytest.fixture
def houses(tmp_path: Path, client: Client) -> Path:
    file = tmp_path / "homes.csv"
    file.write_text(TABLE)
    return file


def test_add_list_show_and_remove(talweg: Talweg, houses: Path) -> None:
    done = talweg("data", "add", str(houses), "--name", "homes")
    assert done.status == 0, done.err
    assert "homes@" in done.out
    assert "Bern (160), Chur (40)" in done.out
    assert "dataset: {stored: {name: homes, target: " in done.out
    assert "id" in done.err  # A column with another value in each row.
    assert "homes@" in talweg("data", "list").out
    described = json.loads(talweg("data", "show", "homes", "--json").out)
    assert [column["name"] for column in described["columns"]] == ["size", "town", "price", "who"]
    assert "DISTRIBUTION" in talweg("data", "show", "homes").out
    assert talweg("data", "remove", "homes", "--yes").out == "homes is deleted\n"
    done = talweg("data", "show", "homes")
    assert (done.status, "no data set" in done.err) == (3, True)


def test_a_dry_run_stores_nothing(talweg: Talweg, houses: Path) -> None:
    done = talweg("data", "add", str(houses), "--dry-run")
    assert done.status == 0, done.err
    assert "town" in done.out
    assert talweg("data", "show", "homes").status == 3


def test_problems_are_listed_with_their_places(talweg: Talweg, tmp_path: Path) -> None:
    file = tmp_path / "bad.csv"
    file.write_text("a,b\n1,2\n3,x\n4,5\n")
    done = talweg("data", "add", str(file))
    assert done.status == 2
    assert 'column "b", row 2: found "x" among numbers' in done.err
    done = talweg("data", "add", str(file), "--missing", "x")
    assert done.status == 0, done.err
    talweg("data", "remove", "bad", "--yes")


def test_init_writes_a_job_that_is_valid(talweg: Talweg, client: Client, houses: Path) -> None:
    file = houses.parent / "job.yaml"
    done = talweg("init", str(houses), "--target", "price", "-o", str(file))
    assert done.status == 0, done.err
    (job,) = read_jobs(file)
    assert job.task.WhichOneof("kind") == "regression"
    # It names the rows, and comes back beside their predictions.
    assert (job.dataset.file.id, list(job.dataset.file.ignore)) == ("who", [])
    assert "# " in file.read_text()
    assert client.submit(file, validate_only=True).message.spec.dataset.stored.facts.num_samples
    assert talweg("init", str(houses), "--target", "price", "-o", str(file)).status == 2
    done = talweg("init", str(houses), "--target", "town", "-o", "-")
    assert "task:\n  binary: {}" in done.out
    done = talweg("init", str(houses), "--target", "prize", "-o", "-")
    assert "did you mean 'price'" in done.err
    client.delete_stored_dataset("homes")


def test_init_leaves_out_what_no_job_takes_and_passes_warnings_on(
    talweg: Talweg, client: Client, tmp_path: Path
) -> None:
    file = tmp_path / "shop.csv"
    file.write_text("share,empty,price\n" + "".join(f"{i}%,,{i}.5\n" for i in (1, 2, 3, 1) * 9))
    done = talweg("init", str(file), "--target", "price", "-o", "-")
    assert done.status == 0, done.err
    assert "ignore: [empty]" in done.out
    assert 'warning: column "share": values such as "1%" are numbers with signs' in done.err
    file.write_text("empty,price\n" + "".join(f",{i}.5\n" for i in range(30)))
    done = talweg("init", str(file), "--target", "price", "-o", "-")
    assert done.status == 2
    assert "inputs: found no column beside price that a model takes: empty" in done.err


def test_init_of_tables_for_training_and_test(
    talweg: Talweg, client: Client, tmp_path: Path
) -> None:
    folder = tmp_path / "parted"
    folder.mkdir()
    lines = TABLE.splitlines(keepends=True)
    (folder / "train.csv").write_text("".join(lines[:150]))
    (folder / "test.csv").write_text("".join([lines[0], *lines[150:]]))
    file = tmp_path / "job.yaml"
    done = talweg("init", str(folder), "--target", "price", "-o", str(file))
    assert done.status == 0, done.err
    (job,) = read_jobs(file)
    assert job.dataset.file.split == "split"
    assert job.split.validation == 0
    assert not job.split.HasField("test")
    submitted = client.submit(file, validate_only=True)
    assert submitted.message.spec.split.validation == 0
    client.delete_stored_dataset("parted")


@pytest.mark.parametrize(("kind", "task"), [("masks", "segmentation"), ("boxes", "detection")])
def test_init_of_images_takes_their_masks_or_boxes_and_their_parts(
    talweg: Talweg, client: Client, tmp_path: Path, kind: str, task: str
) -> None:
    folder = tmp_path / kind
    for number, part in enumerate(["train"] * 6 + ["val"] * 2 + ["test"] * 2):
        pixels = np.full((12, 18), 20 * number, np.uint8)
        _save(pixels, folder / f"images/{part}/{number}.png")
        if kind == "masks":
            _save((pixels > 50).astype(np.uint8), folder / f"masks/{part}/{number}.png")
        else:
            labels = folder / f"labels/{part}/{number}.txt"
            labels.parent.mkdir(parents=True, exist_ok=True)
            labels.write_text("0 0.5 0.5 0.5 0.5\n")
    file = tmp_path / "job.yaml"
    done = talweg("init", str(folder), "-o", str(file))
    assert done.status == 0, done.err
    (job,) = read_jobs(file)
    assert job.task.WhichOneof("kind") == task
    assert job.dataset.file.split == "split"
    submitted = client.submit(file, validate_only=True)
    assert Warning.SPLIT_UNUSED not in [each.kind for each in submitted.warnings]
    job.dataset.file.split = ""
    job.dataset.file.path = str(folder)
    submitted = client.submit(job, validate_only=True)
    [text] = [each.message for each in submitted.warnings if each.kind == Warning.SPLIT_UNUSED]
    assert "Write split: split" in text
    recommended = talweg("recommend", "--data", kind)
    assert recommended.status == 0, recommended.err
    assert f"for {task}:" in recommended.out
    client.delete_stored_dataset(kind)


def _save(pixels: np.ndarray[Any, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def test_losses_for_a_column_of_stored_data(talweg: Talweg, houses: Path) -> None:
    talweg("data", "add", str(houses))
    done = talweg("recommend", "--data", "homes", "--target", "town")
    assert done.status == 0, done.err
    assert "imbalance 4" in done.out
    done = talweg("recommend", "--data", "homes", "--target", "town", "--yaml")
    assert "stored:" in done.out
    assert talweg("recommend", "--target", "town").status == 2
    done = talweg("recommend", "--data", "homes")
    assert done.status == 2
    assert "target" in done.err
    talweg("data", "remove", "homes", "--yes")
