"""A trained model that predicts: its network, and its task's postprocessor."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from talweg.spec import heads as heads_of
from talweg.spec import kind, num_outputs, outputs_of_head
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.data import DataBundle
from talweg.worker.data.stored.talweg_table import Table
from talweg.worker.models import CategoryBlock, HeadShape, saved
from talweg.worker.models.saved import SavedModel
from talweg.worker.tasks.common.postprocessing import Postprocessor, read, statistics
from talweg.worker.tasks.registry import TASKS

EXAMPLE = "example.safetensors"
"""`x`: a few inputs as the predictor takes them."""
_CLASS_VECTORS = "class_weight"


def describe(spec: JobSpec, bundle: DataBundle) -> dict[str, Any]:
    """Return what `model.json` holds; see `talweg.worker.models.saved`.

    Args:
        spec: Filled.
        bundle: What was learnt from.
    """
    name, _ = kind(spec.task)
    task, inputs = TASKS[name], bundle.inputs
    heads = [
        HeadShape(
            head.name, outputs_of_head(head, bundle.num_targets), head.of_pixels, head.of_boxes
        )
        for head in heads_of(spec)
    ]
    network = saved.network_description(
        spec.model,
        inputs.shape,
        num_outputs(spec, bundle.num_targets),
        heads=heads,
        categories=[CategoryBlock(*block) for block in inputs.categories],
        shared=task.shares_weights(spec),
    )
    table = inputs.table if task.num_noise is None else None
    # A table's columns are standardised before they are inputs.
    units = statistics(inputs.scaler) if task.num_noise is None and table is None else {}
    from_bytes = {"from_bytes": True} if inputs.from_bytes else {}
    stored = {} if bundle.stored is None else {"dataset": bundle.stored.label}
    return {
        **network,
        **stored,
        **({} if table is None else {"table": table.described()}),
        "task": name,
        "inputs": {"names": list(inputs.names), **units, **from_bytes},
        "targets": {"names": _target_names(bundle), **_threshold(spec, bundle)},
        "prediction": task.predictions.postprocessor(spec, bundle).described(),
    }


def _target_names(bundle: DataBundle) -> list[str]:
    # The ranks of numbers have names of their own, which a user is to be told.
    first, second = bundle.target_names, bundle.class_names
    return list((second or first) if bundle.stored is not None else (first or second))


def _threshold(spec: JobSpec, bundle: DataBundle) -> dict[str, float]:
    """Return from which probability on the second class, or a label, is predicted."""
    _, task = kind(spec.task)
    if bundle.stored is None or "threshold" not in task.DESCRIPTOR.fields_by_name:
        return {}
    return {"threshold": task.threshold}  # type: ignore[attr-defined]


def example(spec: JobSpec, bundle: DataBundle, *, count: int = 4) -> Tensor:
    """Return what the model takes, float32: the first training inputs as they came from the data.

    Of a user's table they are encoded as `Predictor.encode` does.

    (count, *input_shape); of a generator noise (count, numbers of noise).
    """
    num_noise = TASKS[kind(spec.task)[0]].num_noise
    if num_noise is not None:
        return torch.randn(count, num_noise(spec), generator=torch.Generator().manual_seed(0))
    x = bundle.train.x[:count].double()
    scaler = bundle.inputs.scaler if bundle.inputs.table is None else None
    return (x if scaler is None else torch.from_numpy(scaler.unscale(x.numpy()))).float()


class Predictor(nn.Module):
    """A trained model in its user's terms, standardisation included.

    Takes inputs as they come from the data, float32 (N, *input_shape), of a user's table what
    `encode` makes of its columns, and gives float32
    (N, num_outputs): numbers in the target's units; under multi_quantile each target's quantiles
    beside each other, under gaussian_nll its mean and standard deviation, under evidential its
    mean, aleatoric and epistemic variance; probabilities (N, C) of
    the classes or labels, of class 1 under binary, (N, K) of the ranks; embeddings. A model of
    pixels gives images (N, num_outputs, height, width) of the same. A detector gives x1, y1, x2,
    y2 in pixels, score and class of the boxes that it finds (N, K, 6), the highest score first and
    zeros where there are no more, K being most_boxes. One of several heads gives
    what each of its `heads` gives, flattened, one after another. An
    autoencoder gives reconstructions (N, numbers of an input), a generator takes noise and
    gives samples (N, numbers of an input), both in the units of the inputs.
    """

    input_mean: Tensor
    input_sd: Tensor

    def __init__(self, model: SavedModel) -> None:
        """Put a postprocessor behind a network."""
        super().__init__()
        self.network = model.network
        self.input_names = tuple(model.description.get("inputs", {}).get("names", ()))
        table = model.description.get("table")
        self.table = None if table is None else Table.of(table)
        """How a user's raw columns become inputs; None where they are inputs already."""
        self.description = model.description
        """What `model.json` holds."""
        self.register_buffer("input_mean", model.mean)
        self.register_buffer("input_sd", model.sd)
        self._postprocess = _postprocessor(model)

    def forward(self, x: Tensor) -> Tensor:
        """Predict; see the class."""
        return self._postprocess(self.network((x - self.input_mean) / self.input_sd))

    def encode(self, data: Any) -> Tensor:
        """Return inputs of what people have.

        Args:
            data: Of a model of a user's table a data frame, values by column, or rows of values:
                raw numbers, texts, dates, and nothing where a value is missing. Else numbers
                (N, *input_shape), where a model of images takes bytes too.

        Raises:
            TableError: Columns are missing or unknown, or hold what they cannot.
            ValueError: What was given is no numbers.
        """
        if self.table is not None:
            return torch.from_numpy(self.table.encode(data).astype(np.float32))
        array = np.asarray(data)
        # As nested lists or JSON, bytes come as whole numbers of another type.
        is_bytes = array.dtype.kind in "ui" and self.description["inputs"].get("from_bytes")
        numbers = array.astype(np.float32)
        return torch.from_numpy(numbers / np.float32(255) if is_bytes else numbers)


def _postprocessor(model: SavedModel) -> Postprocessor:
    predictions = TASKS[model.description["task"]].predictions
    postprocess = read(model.description["prediction"], predictions.POSTPROCESSORS)
    # A sum's terms stand between the loss and its vectors; no sum has two such losses.
    vectors = [v for name, v in model.loss_weights.items() if name.endswith(_CLASS_VECTORS)]
    return postprocess.with_class_vectors(vectors[0]) if vectors else postprocess


def load(folder: Path) -> Predictor:
    """Build the model of a folder again.

    Args:
        folder: Holds the two files of `talweg.worker.models.saved`.

    Raises:
        ValueError: The description is of no known format.
    """
    return Predictor(saved.load(folder)).eval()


def load_example(folder: Path) -> Tensor:
    """Return the inputs that were kept as an example."""
    return load_file(folder / EXAMPLE)["x"]
