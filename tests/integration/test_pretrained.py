"""A published file of weights on a whole stack: uploaded, fine-tuned, predicted with, exported."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from tests._parts import wait_until
from tests.integration.stack import Stack
from tests.worker.models.published import TINY
from tests.worker.models.test_pretrained import published

from talweg.v1.jobs_pb2 import Warning


@pytest.mark.faults
def test_a_published_file_is_fine_tuned_and_leaves_as_onnx(stack: Stack, tmp_path: Path) -> None:
    _, tensors = published("resnet", tmp_path)
    file = tmp_path / "model.safetensors"
    done = stack.run("data", "add", str(file), "--name", "tiny-resnet", timeout=120)
    assert done.returncode == 0, done.stderr
    with stack.client() as client:
        # Workers tell of their extras when they start, which nobody waits for.
        job = client.submit({
            "task": "multiclass",
            "dataset": "digits",
            "model": {"pretrained": TINY["resnet"]},
            "loss": "cross_entropy",
            "weights": {"stored": "tiny-resnet"},
            "freeze": ["resnet"],
            "training": {"epochs": 1},
        })  # fmt: skip
        job.wait(180).result()
        taken = job.refresh().message.taken_weights
        # Of the library's names for the classifier, which has another number of classes here.
        assert (taken.num_taken, taken.num_new) == (len(tensors) - 2, 2)
        kinds = {each.kind for each in job.message.warnings}
        assert Warning.WEIGHTS_NOT_TAKEN not in kinds
        model = job.model()
        x = np.random.default_rng(0).uniform(0, 16, (3, 1, 8, 8)).astype(np.float32)
        wanted = model.predict(x)
        np.testing.assert_allclose(job.predict(x, remote=True), wanted, rtol=1e-4, atol=1e-6)

        onnx = tmp_path / "new" / "model.onnx"
        done = stack.run("export", job.id, "-o", str(onnx), timeout=120)
        assert (done.returncode, onnx.exists()) == (2, False)
        assert "--onnx" in done.stderr
        done = stack.run("export", job.id, "--onnx", "-o", str(onnx), timeout=120)
        assert done.returncode == 0, done.stderr
        assert f"{onnx}: x (N, 1, 8, 8), y (N, 10), within" in done.stderr
        session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
        np.testing.assert_allclose(session.run(None, {"x": x})[0], wanted, rtol=1e-5, atol=1e-5)

        # The model in MLflow, an exported program, is there too.
        wait_until(lambda: job.refresh().message.tracking.complete, timeout=240, what="delivered")
        done = stack.run("register", job.id, "published", timeout=120)
        assert done.returncode == 0, done.stderr
    shown = stack.run("show", job.id, "--json", timeout=60)
    assert json.loads(shown.stdout)
