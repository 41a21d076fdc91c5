"""Predictions on a worker of a whole stack, for a client without PyTorch."""

import io
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tests._parts import wait_until
from tests.integration.stack import Stack, tiny_spec

from talweg.client import Client, InvalidRequest, Job, JobState

WINE = {
    "task": "multiclass",
    "dataset": "wine",
    "model": {"mlp": {"hidden": [8]}},
    "loss": "cross_entropy",
    "training": {"epochs": 3},
    "outputs": {"plots": False},
}
# Run where no import of these works, as after a plain install.
BARE = """
import sys
for name in ("torch", "numpy", "pandas", "pyarrow"):
    sys.modules[name] = None
from talweg.client.cli import main
main()
"""


@pytest.fixture(scope="module")
def trained(stack: Stack) -> Iterator[Job]:
    with stack.client() as client:
        job = client.submit(WINE)
        job.wait(240).result()
        yield job


@pytest.fixture(scope="module")
def frame(trained: Job) -> pd.DataFrame:
    model = trained.model()
    values = np.random.default_rng(0).normal(size=(7, *model.input_shape)) + 10
    frame = pd.DataFrame(values, columns=list(model.input_names), index=range(100, 107))
    return frame.assign(code=[f"{index:03}" for index in range(7)])


def run_bare(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BARE, *arguments],
        env={**stack.env, "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=360,
    )


def test_the_command_needs_no_pytorch_and_writes_what_it_would_with_it(
    stack: Stack, trained: Job, frame: pd.DataFrame, tmp_path: Path
) -> None:
    file, local, remote = (tmp_path / name for name in ("wines.csv", "local.csv", "remote.csv"))
    frame.to_csv(file, index=False)
    arguments = ("predict", trained.id, str(file), "--id", "code", "-o")
    done = run_bare(stack, *arguments, str(remote), "--remote")
    assert done.returncode == 0, done.stderr
    assert "7 predictions in" in done.stderr
    done = stack.run(*arguments, str(local))
    assert done.returncode == 0, done.stderr
    assert remote.read_text() == local.read_text()
    assert remote.read_text().splitlines()[1].startswith("000,")
    # Without --remote it says what would help.
    done = run_bare(stack, *arguments, str(tmp_path / "none.csv"))
    assert done.returncode != 0
    assert "talweg[worker]" in done.stderr
    assert "--remote" in done.stderr
    # A mistake is named, and leaves no file.
    frame.drop(columns=["hue"]).to_csv(file, index=False)
    done = run_bare(stack, *arguments, str(tmp_path / "none.csv"), "--remote")
    assert done.returncode != 0
    assert "the columns hue are missing" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "local.csv", "remote.csv", "wines.csv"
    ]  # fmt: skip


def test_pictures_go_to_a_worker_and_masks_come_back(stack: Stack, tmp_path: Path) -> None:
    scenes = {"digit_scenes": {"num_samples": 20}}
    spec = {"task": "segmentation", "dataset": scenes, "model": {"unet": {"channels": [4]}},
            "loss": "cross_entropy", "training": {"steps": 2}}  # fmt: skip
    pictures, masks = tmp_path / "pictures", tmp_path / "masks.zip"
    pictures.mkdir()
    # Noise cannot be compressed: these are more than the messages that gRPC takes by default.
    noise = np.random.default_rng(0).integers(0, 256, (2000, 2500), dtype=np.uint8)
    Image.fromarray(noise).save(pictures / "large.tif")
    Image.fromarray(noise[:40, :90]).save(pictures / "small.png")
    # Of a project, whose models lie apart.
    with Client(stack.address, project="vision") as client:
        job = client.submit(spec)
        job.wait(240).result()
    assert not (stack.data / "blobs" / job.name).exists()
    arguments = ("predict", job.id, str(pictures), "-o", str(masks), "--remote")
    done = run_bare(stack, "--project", "vision", *arguments)
    assert done.returncode == 0, done.stderr
    assert "2 predictions in" in done.stderr
    with zipfile.ZipFile(masks) as archive:
        sizes = {
            name: Image.open(io.BytesIO(archive.read(name))).size
            for name in archive.namelist()
            if name.endswith(".png")
        }
    assert sizes == {"masks/large.png": (2500, 2000), "masks/small.png": (90, 40)}


@pytest.mark.faults
def test_a_job_in_training_goes_on(stack: Stack, trained: Job, frame: pd.DataFrame) -> None:
    """It predicts what the model does here, for each kind of input, while the worker trains."""
    with stack.client() as client:
        running = client.submit(tiny_spec(training={"steps": 100_000_000}))
        wait_until(
            lambda: running.refresh().message.progress.step > 0, timeout=60, what="it trains"
        )
        wanted = trained.predict(frame)
        predicted = trained.predict(frame, remote=True)
        pd.testing.assert_frame_equal(predicted, wanted, check_dtype=False, rtol=1e-5)
        of_columns = trained.predict({name: list(frame[name]) for name in frame}, remote=True)
        assert of_columns["prediction"] == list(wanted["prediction"])
        array = frame.drop(columns="code").to_numpy()
        np.testing.assert_allclose(
            trained.predict(array, remote=True), trained.predict(array), rtol=1e-5
        )
        with pytest.raises(InvalidRequest, match="at most 1,048,576 bytes"):
            trained.predict({"alcohol": ["1" * 1000] * 1100}, remote=True)
        step = running.refresh().message.progress.step
        wait_until(
            lambda: running.refresh().message.progress.step > step, timeout=60, what="it goes on"
        )
        assert running.state == JobState.RUNNING
        assert running.message.attempt == 1
        running.cancel()
        running.wait(120)
