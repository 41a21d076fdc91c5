"""A trained network as two files: its weights, and the description from which it is built again.

Beside `weights.safetensors`, `model.json` holds:

    format      2
    task        member of Task
    model       the filled Model message, JSON form
    plugin      of a model that is a plug-in: the package that it came with, and its version; else
                absent
    library     of a published architecture: the package that built it, and its version; else
                absent
    input_shape shape of one sample
    num_outputs outputs of the last layer
    inputs      names (empty for images); mean and sd by which inputs are standardised, or absent;
                from_bytes true where they were bytes, divided by 255
    dataset     name and version of the data, where they are a user's; else absent
    table       of a user's table: the raw columns, what stands for missing values and unseen
                categories, and mean and sd by which they are standardised before they are inputs;
                see `data.stored.talweg_table`; else absent
    targets     names of numbers or classes; of a user's data, threshold: the probability from
                which on the second class, or a label, is predicted
    heads       where there are several: name, num_outputs, of_pixels and of_boxes of each; else
                absent
    categories  of a model that embeds categories: first number and width of each column of them
                among the features; else absent
    shared      true where the outputs share the weights of the last layer; else absent
    prediction  what turns the outputs into predictions: `kind`, and its parameters; written and
                read by the task's module `predictions`, and none of this module's business
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from talweg.spec import category_embedding, from_dict, to_dict
from talweg.spec.semantics.pretrained import pretrained_in
from talweg.v1.models_pb2 import Model
from talweg.worker.models.architectures.pretrained import library_version
from talweg.worker.models.categories import CategoryBlock
from talweg.worker.models.format_1 import converted
from talweg.worker.models.heads import HeadShape
from talweg.worker.models.registry import build, plugin_of
from talweg.worker.models.shared_output import share_answers
from talweg.worker.plugins import find

FORMAT = 2
MODEL, WEIGHTS = "model.json", "weights.safetensors"
"""The two files."""
OF_LOSS = "loss."
"""What the names of weights begin with that belong to the loss and not to the network."""


@dataclass(frozen=True)
class SavedModel:
    """A network as it was saved."""

    description: Mapping[str, Any]
    """In today's format."""
    network: nn.Module
    """Takes standardised inputs; in evaluation mode."""
    mean: Tensor
    """What is taken off the inputs, float32, of a shape that fits a batch."""
    sd: Tensor
    """What they are divided by then, of the same shape."""
    loss_weights: Mapping[str, Tensor]
    """Weights of the loss, by their names behind `loss.`."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one sample."""
        return tuple(self.description["input_shape"])


def network_description(
    model: Model,
    input_shape: Sequence[int],
    num_outputs: int,
    *,
    heads: Sequence[HeadShape] = (),
    categories: Sequence[CategoryBlock] = (),
    shared: bool = False,
) -> dict[str, Any]:
    """Return the part of a description that `rebuild` makes a network of; see the module."""
    plugin = plugin_of(model)
    return {
        "format": FORMAT,
        "model": to_dict(model),
        **({} if plugin is None else {"plugin": find(plugin).origin}),
        **({"library": library_version()} if any(pretrained_in(model)) else {}),
        "input_shape": list(input_shape),
        "num_outputs": num_outputs,
        **({"heads": [asdict(head) for head in heads]} if heads else {}),
        **(
            {"categories": [list(block) for block in categories]}
            if category_embedding(model) is not None
            else {}
        ),
        **({"shared": True} if shared else {}),
    }


def load(folder: Path) -> SavedModel:
    """Build the model of a folder again.

    Args:
        folder: Holds WEIGHTS and MODEL.

    Raises:
        ValueError: The description is of no known format.
    """
    return rebuild(json.loads((folder / MODEL).read_text()), load_file(folder / WEIGHTS))


def rebuild(description: Mapping[str, Any], weights: Mapping[str, Tensor]) -> SavedModel:
    """Build a network of its description and its weights, the loss's among them.

    Raises:
        ValueError: The description is of no known format, or its plug-in is not installed here.
    """
    if description["format"] == 1:
        description = converted(description)
    if description["format"] != FORMAT:
        raise ValueError(f"{MODEL}: format must be 1 or {FORMAT}, but got {description['format']}")
    heads = [HeadShape(**head) for head in description.get("heads", [])]
    shape = tuple(description["input_shape"])
    model = from_dict(description["model"], Model)
    network = build(
        model,
        shape,
        description["num_outputs"],
        seed=0,
        heads=heads,
        categories=[CategoryBlock(*block) for block in description.get("categories", [])],
        task=description.get("task", ""),
        package=description.get("plugin", {}).get("package", ""),
    )
    if description.get("shared"):
        share_answers(network)
    of_loss = {name for name in weights if name.startswith(OF_LOSS)}
    network.load_state_dict({name: weights[name] for name in weights.keys() - of_loss})
    mean, sd = _statistics(description["inputs"], shape)
    loss_weights = {name.removeprefix(OF_LOSS): weights[name] for name in of_loss}
    return SavedModel(description, network.eval(), mean, sd, loss_weights)


def _statistics(inputs: Mapping[str, Any], shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Return mean and sd by which inputs are standardised, in a shape that fits a batch."""
    if "mean" not in inputs:
        # Of no dimension, since a generator takes noise in place of inputs of this shape.
        return torch.tensor(0.0), torch.tensor(1.0)
    # Images have one mean and sd; vectors one a feature, and the batch comes first.
    per_input = (1, -1) if len(shape) == 1 else (1,) * (1 + len(shape))
    return (
        torch.tensor(inputs["mean"]).reshape(per_input),
        torch.tensor(inputs["sd"]).reshape(per_input),
    )
