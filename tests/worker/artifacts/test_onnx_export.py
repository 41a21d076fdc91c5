"""Models as ONNX files: what ONNX Runtime says of any number of samples, and what is refused."""

import json
import secrets
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from tests._few import a_few
from tests._plugins import write_package
from tests.worker._jobs import tiny_spec
from tests.worker.artifacts.test_trained import untrained
from tests.worker.models.published import TINY

from talweg.client import MissingExtra
from talweg.client.results._results import _offered
from talweg.worker.artifacts.onnx_export import ExportError, OnnxFile, export

DIGITS = {"task": "multiclass", "dataset": "digits", "loss": "cross_entropy"}
CASES: dict[str, dict[str, Any]] = {
    "a table": {"task": "regression", "dataset": "diabetes", "loss": "gaussian_nll"},
    "a published vit of other sides": {
        **DIGITS,
        "model": {
            "pretrained": {**TINY["vit"], "depths": [1], "image_size": 4, "channels": 3},
        },
    },
    "a unet": {
        "task": "segmentation", "dataset": {"digit_scenes": {"num_samples": 60}}, "loss": "dice",
        "model": {"unet": {"channels": [4, 8]}},
    },
    "an autoencoder": {
        "task": "vae", "dataset": "digits", "loss": "vae",
        "model": {"autoencoder": {"hidden": [8]}},
    },
    "a detector": {
        "task": {"detection": {"most_boxes": 2, "score_threshold": 0.0}},
        "dataset": {"digit_scenes": {"num_samples": 60}}, "loss": "detection",
        "model": {"detector": {"channels": [4], "stride": 16}},
    },
}  # fmt: skip


def exported(folder: Path, target: Path | None = None, **fields: Any) -> tuple[Any, OnnxFile]:
    """Export a model that a job could have left."""
    model = untrained(folder, **fields)
    return model, export(folder, tiny_spec(**fields), target or folder / "new" / "model.onnx")


@pytest.mark.parametrize("name", a_few(CASES, of=2))
def test_it_says_what_the_model_says_of_any_number_of_samples(name: str, tmp_path: Path) -> None:
    model, file = exported(tmp_path, **CASES[name])
    session = onnxruntime.InferenceSession(file.path, providers=["CPUExecutionProvider"])
    (taken,), (given,) = session.get_inputs(), session.get_outputs()
    assert (taken.name, taken.type, tuple(taken.shape[1:])) == (
        "x", "tensor(float)", model.input_shape
    )  # fmt: skip
    assert (file.input_shape, given.name) == (model.input_shape, "y")
    # More samples than it was compared with, none of which is of the data.
    x = np.random.default_rng(3).normal(size=(11, *model.input_shape)).astype(np.float32)
    with torch.inference_mode():
        wanted = model(torch.from_numpy(x)).numpy()
    (found,) = session.run(None, {"x": x})
    assert wanted.shape[1:] == file.output_shape
    assert wanted.std() > 0
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=2e-5)
    assert 0 <= file.difference < 1e-3
    assert [path.name for path in file.path.parent.iterdir()] == ["model.onnx"]
    told = json.loads(session.get_modelmeta().custom_metadata_map["talweg.model"])
    assert told["inputs"] == list(model.input_names)
    assert tuple(told["outputs"].get("classes", ())) == model.classes


CODE = """
import torch
from torch import nn
from talweg.plugins import declare

class Other(nn.Linear):
    def forward(self, x):
        # As a model may do whose export is wrong.
        return super().forward(x) + (0.01 if torch.compiler.is_compiling() else 0)

class Depends(nn.Linear):
    def forward(self, x):
        return super().forward(x) if x.sum() > 0 else super().forward(-x)

@declare()
def other(parameters, context):
    return Other(*context.input_shape, context.num_outputs)

@declare()
def depends(parameters, context):
    return Depends(*context.input_shape, context.num_outputs)
"""


def install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install the models of the code above, for one test."""
    points = {f"talweg.models:{name}": name for name in ("other", "depends")}
    # Python remembers modules by their names.
    write_package(folder / "own", f"own_{folder.name}", CODE, points)
    monkeypatch.syspath_prepend(folder / "own")


@pytest.mark.parametrize(
    ("plugin", "message"),
    [
        ("other", r"must be PyTorch's to 1e-05, but for 1 samples they differ by up to [\d.]+"),
        ("depends", "torch.onnx cannot export this model: .*[Dd]ata.dependent"),
    ],
)
def test_what_would_predict_something_else_is_not_written(
    plugin: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch)
    with pytest.raises(ExportError, match=message):
        exported(tmp_path, model={"plugin": plugin})
    assert list((tmp_path / "new").iterdir()) == []


def test_a_folder_in_its_place_is_said_before_the_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch)
    # Of a model whose export fails.
    with pytest.raises(IsADirectoryError):
        exported(tmp_path, model={"plugin": "depends"}, target=tmp_path / "own")
    assert list(tmp_path.glob(".*")) == []


def test_a_full_disk_is_no_fault_of_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "model.onnx"
    monkeypatch.setattr(secrets, "token_hex", lambda _: "aside")
    (tmp_path / ".model.onnx.aside.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left|not permitted"):
        exported(tmp_path, **CASES["a table"], target=target)
    assert list(tmp_path.glob("*.onnx*")) == []


@pytest.mark.parametrize("package", ["onnx", "onnxruntime", "onnxscript"])
def test_where_a_package_is_missing_its_extra_is_named(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, "talweg.worker.artifacts.onnx_export")
    with pytest.raises(MissingExtra, match=rf'needs {package}, .*pip install "talweg\[onnx\]"'):
        _offered("onnx", "to export a model", "onnx")
