"""Softmax losses over the cosines between vectors and one learned vector a class."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from talweg.worker.losses.functional import _safe


def cosines(embeddings: Tensor, class_weight: Tensor) -> Tensor:
    """Return the cosines (N, C) between vectors (N, D) and one vector a class (C, D)."""
    return _safe.unit(embeddings) @ _safe.unit(class_weight).T


def arcface(
    embeddings: Tensor,
    class_weight: Tensor,
    labels: Tensor,
    *,
    margin: float = 0.5,
    scale: float = 64.0,
) -> Tensor:
    """CE of scale cos θ, the right class's θ being raised by the margin.

    Beyond θ = π - margin, where cos(θ + margin) would rise again, it is cos θ - margin sin margin.

    Args:
        embeddings: Vectors (N, D).
        class_weight: One vector a class (C, D).
        labels: Class indices (N,).
        margin: In radians.
        scale: What the cosines are multiplied by.

    Returns:
        A value a sample (N,).

    Reference: Deng et al. 2019, https://arxiv.org/abs/1801.07698
    """
    z, centres = _safe.unit(embeddings), _safe.unit(class_weight)
    cos = z @ centres.T
    own = cos.gather(1, labels[:, None])
    # 1 - cos as a difference of vectors, for near a centre the cosine has lost its digits.
    centre = centres[labels]
    apart = (z - centre).square().sum(1, keepdim=True) / 2
    directed = (z.any(1) & centre.any(1))[:, None]
    apart = torch.where(directed, apart, 1 - own)
    # The sine's slope at θ = 0 is infinite; there it counts as 0.
    sin = _safe.root(F.relu(apart * (2 - apart)))
    raised = own * math.cos(margin) - sin * math.sin(margin)
    raised = torch.where(own < -math.cos(margin), own - margin * math.sin(margin), raised)
    return F.cross_entropy(
        scale * cos.scatter(1, labels[:, None], raised), labels, reduction="none"
    )


def cosface(
    embeddings: Tensor,
    class_weight: Tensor,
    labels: Tensor,
    *,
    margin: float = 0.35,
    scale: float = 64.0,
) -> Tensor:
    """CE of scale cos θ, the right class's cosine being lowered by the margin.

    Args:
        embeddings: Vectors (N, D).
        class_weight: One vector a class (C, D).
        labels: Class indices (N,).
        margin: In units of the cosine.
        scale: What the cosines are multiplied by.

    Returns:
        A value a sample (N,).

    Reference: Wang et al. 2018, https://arxiv.org/abs/1801.09414
    """
    cos = cosines(embeddings, class_weight)
    lowered = cos - margin * F.one_hot(labels, len(class_weight)).to(cos)
    return F.cross_entropy(scale * lowered, labels, reduction="none")
