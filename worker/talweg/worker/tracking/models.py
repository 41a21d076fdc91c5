"""Trained models: what is kept of them, and how they are built from it again.

Beside `weights.safetensors`, `model.json` holds everything else that a prediction takes:

    format      1
    task        member of Task
    model       the filled Model message, JSON form
    input_shape shape of one sample
    num_outputs outputs of the last layer
    inputs      names (empty for images); mean and sd by which inputs were standardised, or absent
    targets     names of numbers or classes; mean and sd as above; per_target: outputs that belong
                to one target (quantiles)
    answer      what turns outputs into what is predicted: none, exp, sigmoid, softmax
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from talweg.spec import from_dict, kind, num_outputs, output_activation, to_dict
from talweg.v1 import losses_pb2
from talweg.v1.models_pb2 import Model
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker import models
from talweg.worker.data import DataBundle, Scaler
from talweg.worker.tasks import leaves
from talweg.worker.tracking.spool import EXAMPLE, MODEL, WEIGHTS

FORMAT = 1

_CLASS_ANSWERS = {"binary": "sigmoid", "multilabel": "sigmoid", "multiclass": "softmax"}


def describe(spec: JobSpec, bundle: DataBundle) -> dict[str, Any]:
    """What `model.json` holds.

    Args:
        spec: filled.
        bundle: what was learnt from.
    """
    task, _ = kind(spec.task)
    outputs = num_outputs(spec, bundle.num_targets)
    return {
        "format": FORMAT,
        "task": task,
        "model": to_dict(spec.model),
        "input_shape": list(bundle.inputs.shape),
        "num_outputs": outputs,
        "inputs": {"names": list(bundle.inputs.names), **_statistics(bundle.inputs.scaler)},
        "targets": {
            "names": list(bundle.target_names or bundle.class_names),
            "per_target": outputs // bundle.num_targets if task == "regression" else 1,
            **_statistics(bundle.target_scaler),
        },
        "answer": _answer(spec, task),
    }


def _statistics(scaler: Scaler | None) -> dict[str, list[float]]:
    if scaler is None:
        return {}
    return {"mean": scaler.mean.reshape(-1).tolist(), "sd": scaler.sd.reshape(-1).tolist()}


def _answer(spec: JobSpec, task: str) -> str:
    if task in _CLASS_ANSWERS:
        return _CLASS_ANSWERS[task] if output_activation(spec) == "none" else "none"
    gives_log = any(
        isinstance(loss, losses_pb2.PoissonNll) and loss.log_input for _, loss in leaves(spec.loss)
    )
    return "exp" if gives_log else "none"


def example(bundle: DataBundle, *, count: int = 4) -> Tensor:
    """The first training inputs as they came from the data, float32 (count, *input_shape)."""
    x = bundle.train.x[:count].double()
    scaler = bundle.inputs.scaler
    if scaler is not None:
        x = x * torch.from_numpy(scaler.sd) + torch.from_numpy(scaler.mean)
    return x.float()


class Predictor(nn.Module):
    """A trained model in its user's terms, standardisation included.

    Takes inputs as they come from the data, float32 (N, *input_shape), and gives float32
    (N, num_outputs): numbers in the target's units; probabilities of the classes or labels, of
    class 1 under binary; under multi_quantile each target's quantiles beside each other.
    """

    input_mean: Tensor
    input_sd: Tensor
    target_mean: Tensor
    target_sd: Tensor

    def __init__(self, network: nn.Module, description: Mapping[str, Any]) -> None:
        """Wraps a network.

        Args:
            network: takes standardised inputs, gives outputs as it was trained to.
            description: of `describe`.
        """
        super().__init__()
        self.network = network
        self._answer = description["answer"]
        inputs, targets = description["inputs"], description["targets"]
        shape = description["input_shape"]

        def buffer(values: list[float], otherwise: float) -> Tensor:
            return torch.tensor(values or [otherwise], dtype=torch.float32)

        # Images have one mean and sd; vectors one a feature, and the batch comes first.
        per_input = (1, -1) if len(shape) == 1 else (1,) * (1 + len(shape))
        self.register_buffer("input_mean", buffer(inputs.get("mean", []), 0.0).reshape(per_input))
        self.register_buffer("input_sd", buffer(inputs.get("sd", []), 1.0).reshape(per_input))
        times = targets["per_target"]
        for name, otherwise in (("mean", 0.0), ("sd", 1.0)):
            values = buffer(targets.get(name, []), otherwise).repeat_interleave(times)
            self.register_buffer(f"target_{name}", values.reshape(1, -1))

    def forward(self, x: Tensor) -> Tensor:
        """Predicts; see the class."""
        outputs: Tensor = self.network((x - self.input_mean) / self.input_sd)
        outputs = outputs.reshape(outputs.shape[0], -1)
        if self._answer == "exp":
            outputs = outputs.exp()
        elif self._answer == "sigmoid":
            outputs = outputs.sigmoid()
        elif self._answer == "softmax":
            outputs = outputs.softmax(dim=1)
        return outputs * self.target_sd + self.target_mean


def rebuild(folder: Path) -> Predictor:
    """Builds the model of an attempt's folder again.

    Args:
        folder: holds WEIGHTS and MODEL.

    Raises:
        ValueError: the description is of another format.
    """
    from safetensors.torch import load_file

    description = json.loads((folder / MODEL).read_text())
    if description["format"] != FORMAT:
        raise ValueError(f"{MODEL}: format must be {FORMAT}, but got {description['format']}")
    network = models.build(
        from_dict(description["model"], Model),
        tuple(description["input_shape"]),
        description["num_outputs"],
        seed=0,
    )
    network.load_state_dict(load_file(folder / WEIGHTS))
    return Predictor(network, description).eval()


def load_example(folder: Path) -> Tensor:
    """The inputs that an attempt kept as an example."""
    from safetensors.torch import load_file

    return load_file(folder / EXAMPLE)["x"]
