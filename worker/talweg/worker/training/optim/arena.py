"""Arenas: tensors of many shapes as views of one flat tensor."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor


class Arena:
    """One flat tensor of zeros, cut into a view for each of some tensors."""

    def __init__(self, like: Sequence[Tensor], *, lanes: int) -> None:
        """Make an arena.

        Args:
            like: Tensors of any shapes, of one type and on one device, without gaps in memory; the
                views stand in memory as they do.
            lanes: Elements to whose multiples views are aligned.
        """
        sizes = [tensor.numel() for tensor in like]
        # Those that fill their lanes stand first, without a gap between them.
        even = [index for index, size in enumerate(sizes) if size % lanes == 0]
        odd = [index for index, size in enumerate(sizes) if size % lanes]
        starts, end = {}, 0
        for index in (*even, *odd):
            starts[index] = end
            end += math.ceil(sizes[index] / lanes) * lanes
        self.flat = torch.zeros(end, dtype=like[0].dtype, device=like[0].device)
        """All of it: views, and zeros between them."""
        self.views: list[Tensor] = [
            self.flat.as_strided(tensor.shape, tensor.stride(), starts[index])
            for index, tensor in enumerate(like)
        ]
        """In the order and the shapes of what the arena is like."""
        joined = sum(sizes[index] for index in even)
        self.pieces: list[Tensor] = [
            *([self.flat[:joined]] if even else []),
            *(self.flat[starts[index] : starts[index] + sizes[index]] for index in odd),
        ]
        """The same elements in as few flat tensors as lanes allow: all views that fill their lanes
        are one piece, and each of the others is its own."""

    def fill(self, tensors: Sequence[Tensor]) -> None:
        """Copy tensors into the views."""
        with torch.no_grad():
            for view, tensor in zip(self.views, tensors, strict=True):
                view.copy_(tensor)
