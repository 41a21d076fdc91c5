"""Learned embeddings of the categories of a table, in place of their one-hot numbers."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from talweg.v1.models_pb2 import CategoryEmbedding


class CategoryBlock(NamedTuple):
    """Where a column of categories stands among the features of a sample."""

    start: int
    """Its first number."""
    width: int
    """How many numbers it has: one for each category, and the last for unseen ones."""


def embedding_size(width: int) -> int:
    """Return the size of an embedding of so many categories where the job does not say it.

    Reference: Howard and Gugger 2020 (fastai), https://arxiv.org/abs/2002.04688
    """
    return min(600, round(1.6 * math.pow(width, 0.56)))


class CategoryEmbeddings(nn.Module):
    """Embeds the categories of each column, and passes the other features through.

    Takes samples (N, features) with one-hot numbers of categories, and gives (N, width): the other
    features first, then the embedding of each column.

    The categories that training has not seen share the last number of a column. Its embedding
    begins as the mean of the others', 0, and is trained by random replacement: in training mode
    each category of a sample becomes the unseen one with a small probability.

    Reference: Guo and Berkhahn 2016, https://arxiv.org/abs/1604.06737
    """

    others: Tensor

    def __init__(
        self,
        settings: CategoryEmbedding,
        blocks: Sequence[CategoryBlock],
        features: int,
        numbers: nn.Module | None = None,
        numbers_width: int = 0,
    ) -> None:
        """Draw the embeddings from the standard normal distribution.

        Args:
            settings: Filled.
            blocks: The columns of categories, in order.
            features: Features of a sample, those of the blocks among them.
            numbers: What the other features go through; as they are where None.
            numbers_width: How many numbers it gives.
        """
        super().__init__()
        self.share = settings.unseen_share
        self._blocks = tuple(CategoryBlock(*block) for block in blocks)
        of_blocks = {index for start, width in blocks for index in range(start, start + width)}
        others = [index for index in range(features) if index not in of_blocks]
        self.register_buffer("others", torch.tensor(others, dtype=torch.long), persistent=False)
        self.numbers = nn.Identity() if numbers is None or not others else numbers
        self.columns = nn.ModuleList(
            nn.Linear(width, settings.size or embedding_size(width), bias=False)
            for _, width in blocks
        )
        with torch.no_grad():
            for column in self.columns:
                assert isinstance(column, nn.Linear)
                column.weight.normal_()
                column.weight[:, -1] = 0
        sizes = [column.out_features for column in self.columns if isinstance(column, nn.Linear)]
        self.width = (len(others) if numbers is None or not others else numbers_width) + sum(sizes)
        """How many numbers it gives."""

    def forward(self, x: Tensor) -> Tensor:
        """From (N, features) to (N, width)."""
        parts = [self.numbers(x.index_select(1, self.others))] if len(self.others) else []
        hidden = None
        if self.training and self.share > 0:
            hidden = torch.rand(len(x), len(self._blocks), device=x.device) < self.share
        for number, (block, column) in enumerate(zip(self._blocks, self.columns, strict=True)):
            one_hot = x[:, block.start : block.start + block.width]
            if hidden is not None:
                unseen = torch.zeros_like(one_hot[:1])
                unseen[:, -1] = 1
                one_hot = torch.where(hidden[:, number, None], unseen, one_hot)
            parts.append(column(one_hot))
        return torch.cat(parts, dim=1)
