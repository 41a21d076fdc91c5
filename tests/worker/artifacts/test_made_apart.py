"""A plug-in's model in MLflow's format: its code runs where no secret is."""

import json
import os
from pathlib import Path

import pytest
import torch
from mlflow.models import Model
from safetensors.torch import save_file
from tests._plugins import write_package
from tests.worker._jobs import tiny_spec

from talweg.worker import data, models
from talweg.worker.artifacts import made_apart, predictor
from talweg.worker.confinement import landlock

pytestmark = pytest.mark.faults

SECRET = "very-secret-12345678"
MODEL = """
import os, sys
from pathlib import Path
from torch import nn

def make(parameters, context):
    if "made_apart" in str(sys.modules["__main__"].__file__) and parameters:
        place = Path(parameters["place"])
        try:
            found = place.read_text()
        except OSError as exc:
            found = type(exc).__name__
        raise ValueError(f"{found} {dict(os.environ)}")
    return nn.Linear(context.input_shape[0], context.num_outputs)
"""


def write(folder: Path, parameters: dict[str, str]) -> None:
    """Leave an untrained model as a job leaves a trained one."""
    plugin = {"name": "spy", "parameters": json.dumps(parameters)}
    spec = tiny_spec(model={"plugin": plugin})
    bundle = data.load(spec)
    network = models.build(spec.model, bundle.inputs.shape, 1, seed=0, task="regression")
    folder.mkdir()
    (folder / "model.json").write_text(json.dumps(predictor.describe(spec, bundle)))
    save_file(network.state_dict(), folder / "weights.safetensors")
    save_file({"x": predictor.example(spec, bundle)}, folder / "example.safetensors")


def test_it_is_made_without_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    write_package(tmp_path / "site", "spying", MODEL, {"talweg.models:spy": "make"})
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", SECRET)
    write(tmp_path / "plain", {})
    assert made_apart.is_of_plugin(tmp_path / "plain")
    with made_apart.made_apart(tmp_path / "plain") as made:
        assert "pytorch" in Model.load(made).flavors
        program = torch.export.load(next(made.rglob("*.pt2")))
        assert program.module()(torch.zeros(2, 10)).shape == (2, 1)
    write(tmp_path / "spied", {"place": str(secret)})
    with pytest.raises(RuntimeError, match="ValueError") as raised:
        with made_apart.made_apart(tmp_path / "spied"):
            pass
    assert SECRET not in str(raised.value)
    if landlock.abi():
        assert "PermissionError" in str(raised.value)


def test_links_are_refused(tmp_path: Path) -> None:
    made = tmp_path / "made"
    (made / "data").mkdir(parents=True)
    (made / "data/file").write_text("x")
    made_apart._take(made, tmp_path / "taken")
    assert (tmp_path / "taken/data/file").read_text() == "x"
    os.symlink("/etc/passwd", made / "data/link")
    with pytest.raises(OSError, match="Too many levels"):
        made_apart._take(made, tmp_path / "other")
