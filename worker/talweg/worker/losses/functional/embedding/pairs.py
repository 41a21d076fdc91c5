"""Losses of pairs and triplets of vectors (N, D), a value a pair or triplet."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from talweg.worker.losses.functional import _safe

Distance = Literal["euclidean", "sqeuclidean", "cosine"]


def distance(one: Tensor, other: Tensor, kind: Distance) -> Tensor:
    """Return the distance of vectors of the last dimension: |a-b|, |a-b|² or 1 - cos."""
    if kind == "cosine":
        return 1 - cosine(one, other)
    square = (one - other).square().sum(-1)
    return square if kind == "sqeuclidean" else _safe.root(square)


def cosine(one: Tensor, other: Tensor) -> Tensor:
    """Return the cosine between vectors of the last dimension."""
    return (_safe.unit(one) * _safe.unit(other)).sum(-1)


def contrastive(emb1: Tensor, emb2: Tensor, similar: Tensor, *, margin: float = 1.0) -> Tensor:
    """(y d² + (1-y) max(0, margin - d)²) / 2, d = |a-b|.

    Args:
        emb1: Vectors a (N, D).
        emb2: Vectors b, of the same shape.
        similar: Y (N,), 1 where the two belong together, else 0.
        margin: How far apart others must be.

    Returns:
        A value a pair (N,).

    Reference: Hadsell et al. 2006, https://doi.org/10.1109/CVPR.2006.100
    """
    similar = similar.to(emb1)
    square = (emb1 - emb2).square().sum(-1)
    apart = F.relu(margin - _safe.root(square)).square()
    return (similar * square + (1 - similar) * apart) / 2


def triplet(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    margin: float = 1.0,
    kind: Distance = "euclidean",
    swap: bool = False,
) -> Tensor:
    """max(0, d(a,p) - d(a,n) + margin).

    Args:
        anchor: Vectors a (N, D).
        positive: Vectors p of the same class.
        negative: Vectors n of another class.
        margin: By how much the negative must be farther.
        kind: The distance.
        swap: Take min(d(a,n), d(p,n)) for d(a,n).

    Returns:
        A value a triplet (N,).

    Reference: Schroff et al. 2015, https://arxiv.org/abs/1503.03832; swap: Balntas et al. 2016,
        https://doi.org/10.5244/C.30.119
    """
    far = distance(anchor, negative, kind)
    if swap:
        far = torch.minimum(far, distance(positive, negative, kind))
    return F.relu(distance(anchor, positive, kind) - far + margin)


def cosine_embedding(emb1: Tensor, emb2: Tensor, sign: Tensor, *, margin: float = 0.0) -> Tensor:
    """1 - cos where sign is 1, max(0, cos - margin) where it is -1.

    Args:
        emb1: Vectors (N, D).
        emb2: Vectors, of the same shape.
        sign: 1 or -1 (N,).
        margin: The cosine that others may have.

    Returns:
        A value a pair (N,).

    Reference: torch.nn.CosineEmbeddingLoss
    """
    cos = cosine(emb1, emb2)
    return torch.where(sign > 0, 1 - cos, F.relu(cos - margin))


def margin_ranking(x1: Tensor, x2: Tensor, sign: Tensor, *, margin: float = 0.0) -> Tensor:
    """max(0, -sign (x1 - x2) + margin).

    Args:
        x1: Scores (N,).
        x2: Scores, of the same shape.
        sign: 1 where x1 must be higher, -1 where x2 must (N,).
        margin: By how much.

    Returns:
        A value a pair, of the shape of x1.

    Reference: torch.nn.MarginRankingLoss
    """
    return F.relu(-sign * (x1 - x2) + margin)


def negative_cosine(emb1: Tensor, emb2: Tensor) -> Tensor:
    """-cos, with no gradient for emb2.

    Args:
        emb1: Predictions (N, D).
        emb2: Targets, of the same shape.

    Returns:
        A value a pair (N,).

    Reference: Chen and He 2021 (SimSiam), https://arxiv.org/abs/2011.10566
    """
    return -cosine(emb1, emb2.detach())
