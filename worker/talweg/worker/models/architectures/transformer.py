"""The transformer's parts.

Reference: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762; tokens of images as Dosovitskiy
et al. 2021, https://arxiv.org/abs/2010.11929; tokens of tables as Gorishniy et al. 2021,
https://arxiv.org/abs/2106.11959
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from talweg.v1 import models_pb2 as messages

_POSITION_SD = 0.02


class FeatureTokens(nn.Module):
    """A token a feature: the feature times a learned vector, plus another.

    Takes (N, features) and gives (N, features, width).
    """

    def __init__(self, features: int, width: int) -> None:
        """Make the vectors.

        Args:
            features: Features of a sample.
            width: Numbers of a token.
        """
        super().__init__()
        bound = width**-0.5
        self.weight = nn.Parameter(torch.empty(features, width).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(features, width).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, features) to (N, features, width)."""
        return x.unsqueeze(-1) * self.weight + self.bias


class PatchTokens(nn.Module):
    """A token a square of an image: a linear map of its pixels, plus what stands for its place.

    Takes (N, channels, H, W) and gives (N, H·W/patch², width).
    """

    def __init__(self, shape: tuple[int, ...], width: int, patch: int) -> None:
        """Make the map.

        Args:
            shape: Channels, height and width of an image.
            width: Numbers of a token.
            patch: Side of a square, in pixels.
        """
        super().__init__()
        channels, *sides = shape
        count = (sides[0] // patch) * (sides[1] // patch)
        self.map = nn.Conv2d(channels, width, kernel_size=patch, stride=patch)
        self.position = nn.Parameter(torch.randn(count, width) * _POSITION_SD)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, height, width) to (N, patches, width)."""
        tokens: Tensor = self.map(x)
        return tokens.flatten(2).transpose(1, 2) + self.position


class Attention(nn.Module):
    """Self-attention of several heads, softmax(Q Kᵀ / sqrt(d)) V in each.

    Takes (N, tokens, width) and gives the same shape.
    """

    def __init__(self, width: int, heads: int) -> None:
        """Make it.

        Args:
            width: Numbers of a token.
            heads: That share them.
        """
        super().__init__()
        self.heads = heads
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, tokens, width) to the same shape."""
        count, tokens, width = x.shape
        joined: Tensor = self.queries_keys_values(x)
        split = joined.view(count, tokens, 3, self.heads, width // self.heads)
        q, k, v = split.permute(2, 0, 3, 1, 4)
        heads = F.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.out(heads.transpose(1, 2).reshape(count, tokens, width))
        return out


class Block(nn.Module):
    """Attention and a perceptron, each behind a layer normalisation and added to its input.

    Takes (N, tokens, width) and gives the same shape.
    """

    def __init__(self, model: messages.Transformer) -> None:
        """Make one block of a filled model."""
        super().__init__()
        width = model.width
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, model.heads)
        self.norm2 = nn.LayerNorm(width)
        self.linear1 = nn.Linear(width, model.expansion * width)
        self.gelu = nn.GELU()
        self.linear2 = nn.Linear(model.expansion * width, width)
        self.dropout = nn.Dropout(model.dropout) if model.dropout > 0 else None
        self._computes_again = model.gradient_checkpointing

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, tokens, width) to the same shape."""
        if self._computes_again and torch.is_grad_enabled():
            again: Tensor = checkpoint(self._run, x, use_reentrant=False)
            return again
        return self._run(x)

    def _run(self, x: Tensor) -> Tensor:
        x = x + self._dropped(self.attention(self.norm1(x)))
        return x + self._dropped(self.linear2(self.gelu(self.linear1(self.norm2(x)))))

    def _dropped(self, x: Tensor) -> Tensor:
        return x if self.dropout is None else self.dropout(x)


class TokenMean(nn.Module):
    """The mean over tokens, from (N, tokens, width) to (N, width)."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, tokens, width) to (N, width)."""
        return x.mean(dim=1)


def transformer(
    model: messages.Transformer, shape: tuple[int, ...], num_outputs: int
) -> OrderedDict[str, nn.Module]:
    """Return a filled transformer's modules in order; for arguments see `build`.

    They take (N, features) or (N, C, H, W) and give (N, num_outputs).
    """
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    if len(shape) == 3:
        modules["tokens"] = PatchTokens(shape, model.width, model.patch)
    else:
        modules["tokens"] = FeatureTokens(shape[0], model.width)
    for number in range(1, model.depth + 1):
        modules[f"block{number}"] = Block(model)
    modules["norm"] = nn.LayerNorm(model.width)
    modules["mean"] = TokenMean()
    modules["linear"] = nn.Linear(model.width, num_outputs)
    return modules
