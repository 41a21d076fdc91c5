"""Data of one's own through the whole way: a file, a job, its files, predictions, and a server."""

import io
import json
import tarfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.datasets import load_digits, load_iris
from tests._parts import served, wait_until
from tests.integration.stack import Stack

from talweg.client import Client, Job

ROW = {
    "sepal length (cm)": 5.1,
    "petal width (cm)": None,
    "collected": "1935-04-02",
    "site": "new",
}


@pytest.fixture(scope="module")
def flowers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table with numbers, categories, dates, names of rows and missing values."""
    rng = np.random.default_rng(0)
    frame = load_iris(as_frame=True).frame
    names = np.array(["setosa", "versicolor", "virginica"])
    frame["species"] = names[frame.pop("target")]
    frame["site"] = rng.choice(["north", "south", "None"], len(frame))
    days = rng.integers(0, 400, len(frame))
    frame["collected"] = pd.Timestamp("1935-01-01") + pd.to_timedelta(days, "D")
    frame["code"] = [f"plant {number:03}" for number in range(len(frame))]
    frame.loc[rng.choice(len(frame), 12, replace=False), "petal width (cm)"] = np.nan
    file = tmp_path_factory.mktemp("own") / "flowers.csv"
    frame.to_csv(file, index=False, sep=";", encoding="utf-16")
    return file


@pytest.fixture(scope="module")
def trained(stack: Stack, flowers: Path) -> Iterator[Job]:
    """A job on it, submitted as a job file that `talweg init` has written."""
    job_file = flowers.parent / "job.yaml"
    done = stack.run("init", str(flowers), "--target", "species", "-o", str(job_file), timeout=120)
    assert done.returncode == 0, done.stderr
    text = job_file.read_text()
    assert "id: code" in text
    job_file.write_text(f"{text}\nexperiment: own data\ndiagnostics: {{baseline: {{}}}}\n")
    done = stack.run("submit", str(job_file), "--watch", "--json", timeout=240)
    assert done.returncode == 0, done.stderr
    with stack.client() as client:
        yield client.job(json.loads(done.stdout)[0]["id"])


def test_a_table_becomes_a_model_that_reads_its_raw_columns(
    stack: Stack, trained: Job, flowers: Path, tmp_path: Path
) -> None:
    metrics = trained.result().metrics
    assert metrics["test/accuracy"] > 0.85
    assert metrics["gradient_boosting/accuracy"] > 0.85
    frame = pd.read_csv(flowers, sep=";", encoding="utf-16", parse_dates=["collected"])
    frame["site"] = _texts(flowers, "site")
    predicted = trained.predict(frame.drop(columns="species"))
    assert (predicted["prediction"] == frame["species"]).mean() > 0.9
    # Read as it was uploaded: a category called None, UTF-16, semicolons.
    assert trained.predict(flowers).equals(trained.predict(frame))
    # A category that training has never seen, a missing number, and a date as text.
    row = frame.drop(columns="species").head(1).assign(**ROW)
    named = r"column site: 1 of {} rows have categories that training has not seen, 'new'"
    for remote in (False, True):
        with pytest.warns(UserWarning, match=named.format(1)):
            assert trained.predict(row, remote=remote)["prediction"].iloc[0] == "setosa"
    out = tmp_path / "out.csv"
    asked = pd.concat([frame, row], ignore_index=True)
    asked.to_csv(tmp_path / "in.csv", index=False)
    done = stack.run("predict", trained.id, str(tmp_path / "in.csv"), "-o", str(out), timeout=120)
    assert done.returncode == 0, done.stderr
    written = pd.read_csv(out)
    assert list(written["code"]) == list(asked["code"])
    assert list(written["prediction"]) == [*predicted["prediction"], "setosa"]
    assert named.format(len(asked)) in done.stderr


def _texts(file: Path, column: str) -> list[str]:
    lines = file.read_text(encoding="utf-16").splitlines()
    place = lines[0].split(";").index(column)
    return [line.split(";")[place] for line in lines[1:]]


def test_a_comparison_stands_beside_scikit_learn(stack: Stack, trained: Job) -> None:
    done = stack.run("compare", trained.id, timeout=120)
    assert done.returncode == 0
    assert "gradient boosting (scikit-learn)" in done.stderr


@pytest.mark.faults
def test_mlflow_serves_it_for_the_raw_columns(stack: Stack, trained: Job, flowers: Path) -> None:
    wait_until(lambda: trained.refresh().message.tracking.complete, timeout=240, what="delivered")
    trained.register("flowers", alias="champion")
    frame = pd.read_csv(flowers, sep=";", encoding="utf-16").drop(columns="species").head(5)
    with served("models:/flowers@champion", stack.tracking) as address:
        body = {"dataframe_split": json.loads(frame.to_json(orient="split"))}
        request = urllib.request.Request(
            f"http://{address}/invocations",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=120) as response:
            answers = json.load(response)["predictions"]
    assert [answer["prediction"] for answer in answers] == ["setosa"] * 5
    assert answers[0]["probability_setosa"] > 0.5


def test_a_folder_of_pictures(stack: Stack, tmp_path: Path) -> None:
    digits = load_digits()
    for number in range(600):
        folder = tmp_path / "digits" / str(digits.target[number])
        folder.mkdir(parents=True, exist_ok=True)
        pixels = (digits.images[number] * 15).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    spec: dict[str, Any] = {
        "task": "multiclass",
        "dataset": {"file": {"path": str(tmp_path / "digits"), "name": "pictures",
                             "target": "label"}},
        "model": {"convnet": {"channels": [8, 16]}},
        "loss": "cross_entropy",
        "training": {"epochs": 15},
    }  # fmt: skip
    with stack.client() as client:
        job = client.submit(spec)
        assert job.wait(240).result().metrics["test/accuracy"] > 0.7
        raw = digits.images[1000:1020, None] * 15
        predicted = job.predict(raw.astype(np.uint8))
        classes = job.model().classes
        assert classes == tuple(map(str, range(10)))
    best = np.asarray(predicted).argmax(axis=1) if predicted.ndim == 2 else predicted
    assert (best == digits.target[1000:1020]).mean() > 0.6


def test_samples_below_a_root_are_read_by_their_uri(stack: Stack) -> None:
    digits = load_digits()
    stack.data_root.mkdir(exist_ok=True)
    path = stack.data_root / "digits 0.tar"
    _write_samples(path, digits.images[:600], digits.target[:600])
    spec: dict[str, Any] = {
        "task": "multiclass",
        "dataset": {"uri": {"uri": path.as_uri(), "target": "label"}},
        "model": {"convnet": {"channels": [8, 16]}},
        "loss": "cross_entropy",
        "training": {"epochs": 15},
    }
    with stack.client() as client:
        job = client.submit(spec)
        accuracy = job.wait(240).result().metrics["test/accuracy"]
        assert accuracy > 0.7
        # What comes after it is another version.
        _write_samples(path, digits.images[600:700], digits.target[600:700])
        again, newer = job.retry(), client.submit({**spec, "training": {"steps": 1}})
        stored = [each.message.spec.dataset.stored for each in (job, again, newer)]
        assert [each.facts.num_samples for each in stored] == [600, 600, 100]
        assert again.wait(240).result().metrics["test/accuracy"] == accuracy
    assert path.as_uri() in stack.run("show", job.id).stdout
    done = stack.run("data", "show", stored[2].name)
    assert path.as_uri() in done.stdout


def _write_samples(path: Path, images: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> None:
    """Write a file of WebDataset aside, and put it in its place."""
    aside = path.with_suffix(".part")
    with tarfile.open(aside, "w") as archive:
        for number, (pixels, label) in enumerate(zip(images, labels, strict=True)):
            picture = io.BytesIO()
            Image.fromarray((pixels * 15).astype(np.uint8)).save(picture, "PNG")
            for ending, content in (("png", picture.getvalue()), ("cls", str(label).encode())):
                member = tarfile.TarInfo(f"{number:04}.{ending}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    aside.rename(path)


def test_a_job_repeats_the_version_it_was_submitted_with(stack: Stack) -> None:
    def table(shift: float) -> pd.DataFrame:
        x = np.linspace(0, 1, 80)
        return pd.DataFrame({"x": x, "noise": np.sin(99 * x), "y": 3 * x + shift})

    with stack.client() as client:
        client.upload(table(0), name="moving")
        first = _submitted(client)
        client.upload(table(1000), name="moving")
        again, newer = first.retry(), _submitted(client)
        values = [job.wait(120).result().metrics for job in (first, again, newer)]
    tests = [{name: value for name, value in each.items() if name.startswith("test/")}
             for each in values]  # fmt: skip
    assert tests[0] == tests[1]
    digests = [job.message.spec.dataset.stored.digest for job in (first, again, newer)]
    assert digests[0] == digests[1] != digests[2]


def _submitted(client: Client) -> Job:
    return client.submit({
        "task": "regression",
        "dataset": {"stored": {"name": "moving", "target": "y"}},
        "model": {"mlp": {"hidden": [8]}},
        "loss": "mse",
        "training": {"epochs": 3},
    })  # fmt: skip
