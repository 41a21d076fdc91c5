"""Trained models: what is kept of them, and how they are built from it again.

Beside `weights.safetensors`, `model.json` holds everything else that a prediction takes:

    format      1
    task        member of Task
    model       the filled Model message, JSON form
    input_shape shape of one sample
    num_outputs outputs of the last layer
    scale       where the outputs are embeddings: what their cosines to the classes' vectors,
                `class_weight` among the loss's weights, are multiplied by; else absent
    inputs      names (empty for images); mean and sd by which inputs were standardised, or absent
    targets     names of numbers or classes; mean and sd as above; per_target: outputs that belong
                to one target (quantiles, or mean and variance)
    heads       where there are several: name, num_outputs, of_pixels, of_boxes, answer, targets
                (mean and sd) and boxes of each, as here; else absent
    answer      what turns outputs into what is predicted: none, exp, sigmoid, softmax;
                mean_and_sd where the second output of each target is a variance before softplus;
                ranks where outputs are logits of rank > k, conditional_ranks where they are so
                given rank ≥ k, either with _of_probabilities behind it where the outputs are
                probabilities already;
                boxes where they are classes and boxes of locations, of which those are given
                that `boxes` says: score_threshold, overlap and most, as the task's settings;
                again where they are the inputs, made again from their codes,
                again_by_sigmoid where they are so as logits of yes or no; samples where noise goes
                in and samples come out, both in the inputs' shape
    shared      true where the outputs share the weights of the last layer; else absent
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from talweg.spec import (
    from_dict,
    heads,
    kind,
    num_outputs,
    output_activation,
    outputs_of_head,
    spec_of_head,
    to_dict,
)
from talweg.v1 import losses_pb2
from talweg.v1.models_pb2 import Model
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.tasks_pb2 import Column, Segmentation
from talweg.worker import models
from talweg.worker.data import DataBundle, StandardScaler
from talweg.worker.tasks import (
    ByVectors,
    Choice,
    find_boxes,
    gives_probabilities,
    is_conditional,
    leaves,
    rank_probabilities,
    shares_answers,
)
from talweg.worker.tracking.spool import EXAMPLE, MODEL, WEIGHTS

FORMAT = 1
OF_LOSS = "loss."
"""What the names of weights begin with that belong to the loss and not to the network."""

_DIMS_OF_IMAGES = 4
_OF_PROBABILITIES = "_of_probabilities"
_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "softmax": lambda outputs: outputs.softmax(dim=1),
}
_CLASS_ANSWERS = {"binary": "sigmoid", "multilabel": "sigmoid", "multiclass": "softmax"}


def describe(spec: JobSpec, bundle: DataBundle) -> dict[str, Any]:
    """Return what `model.json` holds.

    Args:
        spec: Filled.
        bundle: What was learnt from.
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
        **_boxes(spec, task),
        **_heads(spec, bundle),
        **_head(spec),
        **({"shared": True} if shares_answers(spec) else {}),
    }


def _boxes(spec: JobSpec, task: str) -> dict[str, Any]:
    return {"boxes": Choice.of(spec.task.detection)._asdict()} if task == "detection" else {}


def _heads(spec: JobSpec, bundle: DataBundle) -> dict[str, Any]:
    found = []
    for head in heads(spec):
        targets: dict[str, list[float]] = {}
        if isinstance(head.message, Column):
            of_all = _statistics(bundle.target_scaler).items()
            targets = {key: [values[head.message.column]] for key, values in of_all}
        single = spec_of_head(spec, head)
        found.append(
            {
                "name": head.name,
                "num_outputs": outputs_of_head(head, bundle.num_targets),
                "of_pixels": head.of_pixels,
                "of_boxes": head.of_boxes,
                "answer": _answer(single, kind(single.task)[0]),
                **_boxes(single, kind(single.task)[0]),
                "targets": targets,
            }
        )
    return {"heads": found} if found else {}


def _head(spec: JobSpec) -> dict[str, float]:
    if kind(spec.task)[0] != "multiclass":
        return {}
    scales = [loss.scale for _, loss in leaves(spec.loss) if isinstance(loss, ByVectors)]
    return {"scale": scales[0]} if scales else {}


def _statistics(scaler: StandardScaler | None) -> dict[str, list[float]]:
    if scaler is None:
        return {}
    return {"mean": scaler.mean.reshape(-1).tolist(), "sd": scaler.sd.reshape(-1).tolist()}


def _answer(spec: JobSpec, task: str) -> str:
    if task in _CLASS_ANSWERS:
        gives_logits = _head(spec) or output_activation(spec) == "none"
        return _CLASS_ANSWERS[task] if gives_logits else "none"
    if task == "gan":
        return "samples"
    if task == "detection":
        return "boxes"
    if task == "vae":
        return "again_by_sigmoid" if gives_probabilities(spec) else "again"
    if task == "ordinal":
        answer = "conditional_ranks" if is_conditional(spec) else "ranks"
        return answer + (_OF_PROBABILITIES if output_activation(spec) == "sigmoid" else "")
    if task == "segmentation":
        return "softmax" if spec.task.segmentation.target == Segmentation.classes else "sigmoid"
    for _, loss in leaves(spec.loss):
        if isinstance(loss, losses_pb2.GaussianNll):
            return "mean_and_sd"
        gives_log = isinstance(loss, losses_pb2.PoissonNll) and loss.log_input
        if gives_log or isinstance(loss, losses_pb2.Tweedie):
            return "exp"
    return "none"


def example(spec: JobSpec, bundle: DataBundle, *, count: int = 4) -> Tensor:
    """Return what the model takes, float32: the first training inputs as they came from the data.

    (count, *input_shape); of a generator noise (count, numbers of noise).
    """
    if spec.task.HasField("gan"):
        noise = torch.Generator().manual_seed(0)
        return torch.randn(count, spec.model.adversarial.noise, generator=noise)
    x = bundle.train.x[:count].double()
    scaler = bundle.inputs.scaler
    if scaler is not None:
        x = x * torch.from_numpy(scaler.sd) + torch.from_numpy(scaler.mean)
    return x.float()


class Predictor(nn.Module):
    """A trained model in its user's terms, standardisation included.

    Takes inputs as they come from the data, float32 (N, *input_shape), and gives float32
    (N, num_outputs): numbers in the target's units; under multi_quantile each target's quantiles
    beside each other, under gaussian_nll its mean and standard deviation; probabilities (N, C) of
    the classes or labels, of class 1 under binary, (N, K) of the ranks; embeddings. A model of
    pixels gives images (N, num_outputs, height, width) of the same. A detector gives x1, y1, x2,
    y2 in pixels, score and class of the boxes that it finds (N, K, 6), the highest score first and
    zeros where there are no more, K being most_boxes. One of several heads gives
    what each of its `heads` gives, flattened, one after another. An
    autoencoder gives inputs made again (N, numbers of an input), a generator takes noise and
    gives samples (N, numbers of an input), both in the units of the inputs.
    """

    input_mean: Tensor
    input_sd: Tensor
    target_mean: Tensor
    target_sd: Tensor
    class_weight: Tensor

    def __init__(
        self,
        network: nn.Module,
        description: Mapping[str, Any],
        class_weight: Tensor | None = None,
    ) -> None:
        """Wrap a network.

        Args:
            network: Takes standardised inputs, gives outputs as it was trained to.
            description: Of `describe`.
            class_weight: Where the outputs are embeddings, one vector a class (C, num_outputs).
        """
        super().__init__()
        self.network = network
        self._answer = description["answer"]
        self._heads = description.get("heads", [])
        self._choice = description.get("boxes", {})
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
        self._scale = description.get("scale")
        if self._scale is not None and class_weight is not None:
            self.register_buffer("class_weight", nn.functional.normalize(class_weight, dim=1))

    def forward(self, x: Tensor) -> Tensor:
        """Predicts; see the class."""
        if self._answer == "samples":
            return self._raw(self.network(x))
        x = (x - self.input_mean) / self.input_sd
        if self._heads:
            return self._of_heads(self.network(x), x)
        if self._answer.startswith("again"):
            again: Tensor = self.network(x)[0]
            return self._raw(again) if self._answer == "again" else again.sigmoid().flatten(1)
        if self._answer == "boxes":
            return _found(self.network(x), self._choice, x)
        outputs: Tensor = self.network(x)
        if outputs.dim() < _DIMS_OF_IMAGES:
            outputs = outputs.reshape(outputs.shape[0], -1)
        if self._scale is not None:
            embeddings = nn.functional.normalize(outputs, dim=1)
            outputs = self._scale * (embeddings @ self.class_weight.T)
        if self._answer == "mean_and_sd":
            mean, raw = outputs.reshape(outputs.shape[0], -1, 2).unbind(-1)
            mean = mean * self.target_sd[:, ::2] + self.target_mean[:, ::2]
            sd = nn.functional.softplus(raw).sqrt() * self.target_sd[:, ::2]
            return torch.stack([mean, sd], dim=-1).flatten(1)
        if self._answer == "exp":
            outputs = outputs.exp()
        elif self._answer == "sigmoid":
            outputs = outputs.sigmoid()
        elif self._answer == "softmax":
            outputs = outputs.softmax(dim=1)
        elif "ranks" in self._answer:
            above = outputs if self._answer.endswith(_OF_PROBABILITIES) else outputs.sigmoid()
            is_conditional = self._answer.startswith("conditional")
            outputs = rank_probabilities(above.cumprod(dim=1) if is_conditional else above)
        return outputs * self.target_sd + self.target_mean

    def _raw(self, inputs: Tensor) -> Tensor:
        """Return inputs in their own units, flattened."""
        raw: Tensor = inputs * self.input_sd + self.input_mean
        return raw.flatten(1)

    def _of_heads(self, outputs: Mapping[str, Tensor], x: Tensor) -> Tensor:
        answers = []
        for head in self._heads:
            values = outputs[head["name"]]
            if head["answer"] == "boxes":
                values = _found(values, head["boxes"], x)
            elif head["answer"] != "none":
                values = _ACTIVATIONS[head["answer"]](values)
            mean, sd = (head["targets"].get(name, [o])[0] for name, o in (("mean", 0), ("sd", 1)))
            answers.append((values * sd + mean).flatten(1))
        return torch.cat(answers, dim=1)


def _found(outputs: Tensor, choice: Mapping[str, Any], x: Tensor) -> Tensor:
    """Return the boxes of images, in a fixed number of rounds, as an exported program needs."""
    height, width = x.shape[-2:]
    return find_boxes(outputs, Choice(**choice), (height, width), rounds=choice["most"])


def rebuild(folder: Path) -> Predictor:
    """Build the model of an attempt's folder again.

    Args:
        folder: Holds WEIGHTS and MODEL.

    Raises:
        ValueError: The description is of another format.
    """
    from safetensors.torch import load_file

    return rebuilt(json.loads((folder / MODEL).read_text()), load_file(folder / WEIGHTS))


def rebuilt(description: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Predictor:
    """Build a model of its description and its weights, the loss's among them.

    Raises:
        ValueError: The description is of another format.
    """
    if description["format"] != FORMAT:
        raise ValueError(f"{MODEL}: format must be {FORMAT}, but got {description['format']}")
    network = models.build(
        from_dict(description["model"], Model),
        tuple(description["input_shape"]),
        description["num_outputs"],
        seed=0,
        heads=[
            models.HeadShape(
                head["name"],
                head["num_outputs"],
                head["of_pixels"],
                head.get("of_boxes", False),
            )
            for head in description.get("heads", [])
        ],
    )
    if description.get("shared"):
        models.share_answers(network)
    learnt = {name: value for name, value in weights.items() if name.startswith(OF_LOSS)}
    network.load_state_dict({name: weights[name] for name in weights.keys() - learnt.keys()})
    # A sum's terms stand between the loss and its vectors; no sum has two such losses.
    vectors = [value for name, value in learnt.items() if name.endswith("class_weight")]
    return Predictor(network, description, vectors[0] if vectors else None).eval()


def load_example(folder: Path) -> Tensor:
    """Return the inputs that an attempt kept as an example."""
    from safetensors.torch import load_file

    return load_file(folder / EXAMPLE)["x"]
