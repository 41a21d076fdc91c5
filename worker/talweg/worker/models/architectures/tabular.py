"""The tabular model: embeddings of numbers, and a perceptron with residual blocks."""

import math
from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from talweg.spec import kind
from talweg.v1 import models_pb2 as messages
from talweg.worker.models.categories import CategoryBlock, CategoryEmbeddings

_LAST_EDGE = 3.0


class PiecewiseLinear(nn.Module):
    """Encode each feature by how far it has come through each bin. Gorishniy et al. 2022, eq. 1.

    The paper's edges are quantiles of the training data, which a network does not know before
    training. These are quantiles of the standard normal distribution between its ends at ±3.
    """

    edges: Tensor

    def __init__(self, bins: int) -> None:
        """Make the edges of so many bins."""
        super().__init__()
        last = torch.tensor(_LAST_EDGE, dtype=torch.float64)
        below = torch.special.ndtr(-last)
        shares = below + (1 - 2 * below) * torch.linspace(0, 1, bins + 1, dtype=torch.float64)
        self.register_buffer("edges", torch.special.ndtri(shares).float())

    def forward(self, x: Tensor) -> Tensor:
        """From (N, features) to (N, features, bins)."""
        way = (x.unsqueeze(-1) - self.edges[:-1]) / self.edges.diff()
        if way.shape[-1] == 1:
            return way
        # The outer bins are open, so that inputs beyond the edges still differ.
        first, last = way[..., :1].clamp(max=1), way[..., -1:].clamp(min=0)
        return torch.cat([first, way[..., 1:-1].clamp(0, 1), last], dim=-1)


class Periodic(nn.Module):
    """Encode each feature by sines and cosines of its own. Gorishniy et al. 2022, eq. 2."""

    def __init__(self, features: int, frequencies: int, sigma: float) -> None:
        """Draw the frequencies.

        Args:
            features: Features of a sample.
            frequencies: Of each feature.
            sigma: Their standard deviation at first.
        """
        super().__init__()
        self.frequencies = nn.Parameter(torch.randn(features, frequencies) * sigma)

    def forward(self, x: Tensor) -> Tensor:
        """From (N, features) to (N, features, 2 × frequencies)."""
        angles = 2 * math.pi * self.frequencies * x.unsqueeze(-1)
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


class FeatureLinear(nn.Module):
    """A linear layer of each feature's own."""

    def __init__(self, features: int, in_features: int, out_features: int) -> None:
        """Make the layers, with first weights as torch.nn.Linear's.

        Args:
            features: Features of a sample.
            in_features: Numbers of a feature that come in.
            out_features: Numbers of a feature that go out.
        """
        super().__init__()
        bound = in_features**-0.5
        self.weight = nn.Parameter(
            torch.empty(features, in_features, out_features).uniform_(-bound, bound)
        )
        self.bias = nn.Parameter(torch.empty(features, 1, out_features).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """From (N, features, in_features) to (N, features, out_features)."""
        return torch.baddbmm(self.bias, x.transpose(0, 1), self.weight).transpose(0, 1)


class Block(nn.Module):
    """What comes in, and two linear layers of it behind a normalisation."""

    def __init__(self, model: messages.Tabular) -> None:
        """Make one block of a filled model."""
        super().__init__()
        hidden = model.hidden_factor * model.width
        self.norm = _normalisation(model)
        self.linear1 = nn.Linear(model.width, hidden)
        self.relu = nn.ReLU()
        self.dropout1 = nn.Dropout(model.dropout) if model.dropout > 0 else nn.Identity()
        self.linear2 = nn.Linear(hidden, model.width)
        self.dropout2 = nn.Dropout(model.dropout) if model.dropout > 0 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """From (N, width) to the same shape."""
        hidden = self.dropout1(self.relu(self.linear1(self.norm(x))))
        out: Tensor = x + self.dropout2(self.linear2(hidden))
        return out


def tabular(
    model: messages.Tabular,
    shape: tuple[int, ...],
    num_outputs: int,
    settings: messages.CategoryEmbedding | None = None,
    categories: Sequence[CategoryBlock] = (),
) -> OrderedDict[str, nn.Module]:
    """Return a filled model's modules in order; for arguments see `build`.

    Args:
        model: Filled.
        shape: (features,).
        num_outputs: Outputs of the last layer.
        settings: How categories are embedded; None where their numbers are like all others.
        categories: The columns of categories.
    """
    (features,) = shape
    of_numbers = features
    if settings is not None:
        of_numbers -= sum(block.width for block in categories)
    modules, size = _embedding(model.embedding, of_numbers)
    width = of_numbers * size
    if settings is not None:
        embedded = CategoryEmbeddings(
            settings, categories, features, nn.Sequential(modules), width
        )
        modules, width = OrderedDict(categories=embedded), embedded.width
    modules["linear1"] = nn.Linear(width, model.width)
    for number in range(1, model.blocks + 1):
        modules[f"block{number}"] = Block(model)
    modules["norm"] = _normalisation(model)
    modules["relu"] = nn.ReLU()
    modules["linear2"] = nn.Linear(model.width, num_outputs)
    return modules


def _embedding(
    embedding: messages.NumberEmbedding, features: int
) -> tuple[OrderedDict[str, nn.Module], int]:
    """Return the modules that embed each feature, and the numbers that stand for it then."""
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    _, message = kind(embedding)
    if not features:
        return modules, 1
    if isinstance(message, messages.PiecewiseLinear):
        modules["encoding"] = PiecewiseLinear(message.bins)
        size, width = message.size, message.bins
    elif isinstance(message, messages.Periodic):
        modules["encoding"] = Periodic(features, message.frequencies, message.sigma)
        size, width = message.size, 2 * message.frequencies
    else:
        return modules, 1
    modules["embedding"] = FeatureLinear(features, width, size)
    modules["embedding_relu"] = nn.ReLU()
    modules["flatten"] = nn.Flatten()
    return modules, size


def _normalisation(model: messages.Tabular) -> nn.Module:
    if model.norm == messages.Tabular.batch:
        return nn.BatchNorm1d(model.width)
    if model.norm == messages.Tabular.layer:
        return nn.LayerNorm(model.width)
    return nn.Identity()
