"""The files of a job, from the worker's disk to the user's, in a whole stack."""

import hashlib
import json
from pathlib import Path

from tests.integration.stack import Stack

DIGITS = {
    "task": "multiclass",
    "dataset": "digits",
    "model": {"mlp": {"hidden": [16]}},
    "loss": "cross_entropy",
    "training": {"epochs": 2},
}


def test_files_of_a_job_are_there_as_soon_as_it_has_ended(stack: Stack, tmp_path: Path) -> None:
    with stack.client() as client:
        job = client.submit(DIGITS)
        job.wait(120).result()
        files = {each.path: each for each in job.artifacts()}
        plots = job.download("plots", tmp_path / "plots", patience=180)
    assert {
        "job.yaml",
        "model/model.json",
        "model/weights.safetensors",
        "model/example.safetensors",
        "predictions.safetensors",
    } <= files.keys()
    folder = tmp_path / "got"
    done = stack.run("get", job.id, "-o", str(folder), timeout=120)
    assert done.returncode == 0, done.stderr
    written = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert set(done.stdout.split()) == {str(folder / path) for path in written}
    assert files.keys() <= written
    assert {str(path.relative_to(tmp_path / "plots")) for path in plots} <= written
    for path, file in files.items():
        content = (folder / path).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (file.num_bytes, file.sha256)
    assert json.loads((folder / "model/model.json").read_text())["task"] == "multiclass"
