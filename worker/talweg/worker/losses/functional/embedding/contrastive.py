"""Losses that tell each vector's partner from all others of the batch."""

import torch
from torch import Tensor
from torch.nn import functional as F

from talweg.worker.losses.functional import _safe
from talweg.worker.losses.functional.embedding._find_partner import FindPartner


def nt_xent(z1: Tensor, z2: Tensor, *, temperature: float = 0.5) -> Tensor:
    """-log(e^s_ij / Σ_k≠i e^s_ik), s = cos / temperature.

    Args:
        z1: One view of the samples (N, D).
        z2: The other view, of the same shape.
        temperature: What the cosines are divided by.

    Returns:
        A value an anchor (2N,), z1's first. The positive counts once; one pair alone gives 0.

    Reference: Chen et al. 2020 (SimCLR), https://arxiv.org/abs/2002.05709
    """
    number = len(z1)
    z = _safe.unit(torch.cat([z1, z2]))
    if not number:
        return z.sum(1)
    partner = torch.arange(2 * number, device=z.device).roll(number)
    return FindPartner.apply(z, partner, temperature)  # type: ignore[no-untyped-call,no-any-return]


def info_nce(
    query: Tensor,
    positive: Tensor,
    negatives: Tensor | None = None,
    *,
    temperature: float = 0.07,
) -> Tensor:
    """-log(e^s_ii / Σ_k e^s_ik), s = cos / temperature.

    Args:
        query: Vectors (N, D).
        positive: Each query's partner (N, D).
        negatives: Vectors (M, D) that all queries share; without them every other query's
            partner is a negative.
        temperature: What the cosines are divided by.

    Returns:
        A value a query (N,).

    Reference: Van den Oord et al. 2018, https://arxiv.org/abs/1807.03748
    """
    query, positive = _safe.unit(query), _safe.unit(positive)
    index = torch.arange(len(query), device=query.device)
    if negatives is None:
        return F.cross_entropy(query @ positive.T / temperature, index, reduction="none")
    own = (query * positive).sum(1, keepdim=True)
    scores = torch.cat([own, query @ _safe.unit(negatives).T], 1) / temperature
    return F.cross_entropy(scores, torch.zeros_like(index), reduction="none")


def clip(image: Tensor, text: Tensor, logit_scale: Tensor | float = 1 / 0.07) -> Tensor:
    """Return the mean of CE by rows and CE by columns of logit_scale cos.

    Args:
        image: Vectors (N, D).
        text: Each image's partner (N, D).
        logit_scale: What the cosines are multiplied by; may be learned.

    Returns:
        A value a pair (N,).

    Reference: Radford et al. 2021, https://arxiv.org/abs/2103.00020
    """
    scores = logit_scale * (_safe.unit(image) @ _safe.unit(text).T)
    index = torch.arange(len(scores), device=scores.device)
    rows = F.cross_entropy(scores, index, reduction="none")
    return (rows + F.cross_entropy(scores.T, index, reduction="none")) / 2


def supcon(
    embeddings: Tensor, labels: Tensor, *, temperature: float = 0.1
) -> tuple[Tensor, Tensor]:
    """-mean_p log(e^s_ip / Σ_a≠i e^s_ia), s = cos / temperature.

    Args:
        embeddings: Vectors (N, D).
        labels: Their classes (N,).
        temperature: What the cosines are divided by.

    Returns:
        A value an anchor (N,), and whether it has a positive (N,): the mean is over those.

    Reference: Khosla et al. 2020, https://arxiv.org/abs/2004.11362
    """
    z = _safe.unit(embeddings)
    same, other = same_and_other(labels)
    scores = z @ z.T / temperature
    log_share = scores - _safe.masked_logsumexp(scores, same | other)[:, None]
    number = same.sum(1)
    return -log_share.where(same, 0).sum(1) / number.clamp(min=1), number > 0


def circle(
    embeddings: Tensor, labels: Tensor, *, m: float = 0.25, gamma: float = 64.0
) -> tuple[Tensor, Tensor]:
    """log(1 + Σ_p e^(-γ α_p (s-1+m)) Σ_n e^(γ α_n (s-m))), s = cos.

    Args:
        embeddings: Vectors (N, D).
        labels: Their classes (N,).
        m: The margin; α_p = max(0, 1 + m - s) and α_n = max(0, s + m) have no gradient.
        gamma: The scale γ.

    Returns:
        A value an anchor (N,), and whether it has positives and negatives (N,): the mean is
        over those.

    Reference: Sun et al. 2020, https://arxiv.org/abs/2002.10857
    """
    z = _safe.unit(embeddings)
    same, other = same_and_other(labels)
    s = z @ z.T
    pull = -gamma * F.relu(1 + m - s.detach()) * (s - 1 + m)
    push = gamma * F.relu(s.detach() + m) * (s - m)
    both = same.any(1) & other.any(1)
    sums = _safe.masked_logsumexp(pull, same) + _safe.masked_logsumexp(push, other)
    return _safe.softplus(sums), both


def multi_similarity(
    embeddings: Tensor,
    labels: Tensor,
    *,
    alpha: float = 2.0,
    beta: float = 50.0,
    base: float = 0.5,
) -> Tensor:
    """log(1+Σ_p e^(-α(s-base)))/α + log(1+Σ_n e^(β(s-base)))/β, s = cos.

    Args:
        embeddings: Vectors (N, D).
        labels: Their classes (N,).
        alpha: How sharply far positives count.
        beta: How sharply near negatives count.
        base: The cosine that parts them.

    Returns:
        A value an anchor (N,), all of which count; nothing is mined.

    Reference: Wang et al. 2019, https://arxiv.org/abs/1904.06627
    """
    z = _safe.unit(embeddings)
    same, other = same_and_other(labels)
    s = z @ z.T - base
    pull = _safe.softplus(_safe.masked_logsumexp(-alpha * s, same)) / alpha
    return pull + _safe.softplus(_safe.masked_logsumexp(beta * s, other)) / beta


def same_and_other(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return which pairs (N, N) share their class, the diagonal left out, and which do not.

    Args:
        labels: The classes (N,).
    """
    same = labels[:, None] == labels
    other = ~same
    return same.fill_diagonal_(False), other
