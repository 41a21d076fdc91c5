"""Large libraries are imported where a job needs them, and stay off the network."""

import json
import subprocess
import sys

from tests.worker.models.published import TINY

# Importing PyTorch takes seconds: one process serves all.
_PROGRAM = """
import json, sys
import talweg.worker.app, talweg.worker.diagnostics, talweg.worker.predicting
import talweg.worker.artifacts.trained
import torch
from talweg.spec import fill_message, from_dict
from talweg.v1.models_pb2 import Model
from talweg.v1.optimizers_pb2 import Optimizer
from talweg.worker import models
from talweg.worker.training.optim import optimizers

LARGE = {"kornia", "transformers", "huggingface_hub", "onnx", "onnxruntime", "onnxscript"}

def build(model):
    return models.build(fill_message(from_dict(model, Model)), (1, 8, 8), 3, seed=0)

build({"embedder": {"trunk": "resnet"}})
network = torch.nn.Linear(2, 1)
for kind in optimizers.OPTIMIZERS:
    message = fill_message(from_dict({kind: {"learning_rate": 0.1}}, Optimizer))
    optimizer = optimizers.build(message, network.parameters())
    optimizer.zero_grad()
    before = network.weight.detach().clone()
    network(torch.ones(1, 2)).square().sum().backward()
    optimizer.step()
    assert (before != network.weight).any()
    optimizer.load_state_dict(optimizer.state_dict())
assert "torch._dynamo" not in sys.modules, "the tracer of torch.compile"
loaded = {name.partition(".")[0] for name in sys.modules} & LARGE
assert not loaded, loaded

def refuse(event, arguments):
    assert not event.startswith("socket."), f"{event} {arguments}"

sys.addaudithook(refuse)
for model in json.loads(sys.argv[1]).values():
    build({"pretrained": model})
assert "transformers" in sys.modules
"""


def test_libraries_are_imported_by_jobs_that_use_them_alone_and_stay_off_the_network() -> None:
    program = [sys.executable, "-W", "default::ResourceWarning", "-c", _PROGRAM]
    done = subprocess.run([*program, json.dumps(TINY)], stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stderr
    # Python says at its end which files were left open.
    assert "unclosed" not in done.stderr
