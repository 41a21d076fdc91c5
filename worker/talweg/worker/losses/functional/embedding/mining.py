"""Triplets found within a batch: vectors and their classes in, all anchors at once.

Memory grows with N², time with N² log N; the soft margin, whose triplets do not add up by sorting,
takes time with the number of triplets.
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from talweg.worker.losses.functional import _safe
from talweg.worker.losses.functional.embedding import pairs
from talweg.worker.losses.functional.embedding.contrastive import same_and_other
from talweg.worker.losses.functional.embedding.pairs import Distance

Strategy = Literal["hard", "semihard", "all"]


class Triplets(NamedTuple):
    """The triplets of a batch, added up."""

    total: Tensor
    """The sum of their losses."""
    number: Tensor
    """How many of them the mean divides by; may be 0."""


def online_triplet(
    embeddings: Tensor,
    labels: Tensor,
    *,
    strategy: Strategy = "hard",
    margin: float = 1.0,
    kind: Distance = "euclidean",
    normalize: bool = False,
    soft_margin: bool = False,
    nonzero: bool = True,
) -> Triplets:
    """max(0, d(a,p) - d(a,n) + margin) over triplets of a batch.

    Args:
        embeddings: Vectors (N, D).
        labels: Their classes (N,).
        strategy: Hard takes each anchor's farthest positive and nearest negative; semihard all
            triplets with d(a,p) < d(a,n) < d(a,p) + margin; all every triplet.
        margin: By how much the negative must be farther.
        kind: The distance.
        normalize: Divide the vectors by their norm first.
        soft_margin: Take log(1 + e^(d(a,p) - d(a,n))) in place of the hinge.
        nonzero: Under all, count only the triplets whose loss is above 0.

    Returns:
        The sum of the triplets' losses, and how many the mean divides by.

    Reference: Schroff et al. 2015, https://arxiv.org/abs/1503.03832; Hermans et al. 2017,
        https://arxiv.org/abs/1703.07737
    """
    vectors = _safe.unit(embeddings) if normalize else embeddings
    if strategy == "hard":
        return _hard(vectors, labels, margin, kind, soft_margin)
    distances = _distances(vectors, kind)
    if soft_margin:
        return _soft(distances, labels, margin if strategy == "semihard" else None)
    return _hinge(distances, labels, margin, strategy, nonzero)


def _hard(
    vectors: Tensor, labels: Tensor, margin: float, kind: Distance, soft_margin: bool
) -> Triplets:
    same = labels[:, None] == labels
    alike = same.count_nonzero(1)
    # The search needs no gradient, and its distances come of one product. Only the winners are
    # measured again: 2N distances in place of N².
    with torch.no_grad():
        points = _safe.unit(vectors) if kind == "cosine" else vectors
        far, near = _hardest(points - points.mean(0), same)
    gap = pairs.distance(vectors, vectors[far], kind) - pairs.distance(
        vectors, vectors[near], kind
    )
    losses = _safe.softplus(gap) if soft_margin else F.relu(gap + margin)
    anchors = (alike > 1) & (alike < len(labels))
    return Triplets(losses.where(anchors, 0).sum(), anchors.sum())


def _hardest(points: Tensor, same: Tensor) -> tuple[Tensor, Tensor]:
    """Return each point's farthest of its class and nearest of another; any if there is none."""
    if not len(points):
        nothing = torch.empty(0, dtype=torch.int64, device=points.device)
        return nothing, nothing
    if points.is_cpu:
        size = points.square().sum(1)
        square = torch.addmm(size[:, None] + size, points, points.T, alpha=-2)
        # By how much rounding can move a product's distance at the most.
        error = 4 * (points.shape[1] + 8) * torch.finfo(points.dtype).eps * (size + size.max())
    else:
        # To see which rows are open a GPU would have to be waited for: it measures all exactly.
        square, error = _differences(points, points).square(), None
    near = _winner(square, ~same, points, error, farthest=False)
    square.fill_diagonal_(-torch.inf)
    return _winner(square, same, points, error, farthest=True), near


def _winner(
    square: Tensor, mask: Tensor, points: Tensor, error: Tensor | None, *, farthest: bool
) -> Tensor:
    """Return the index of each row's farthest or nearest point in the mask, by squared distance.

    Where rounding leaves the winner open the row is measured again, by differences in float64;
    the error says by how much it can be off, None for not at all.
    """
    last = -torch.inf if farthest else torch.inf
    # Extremes with their index take long, without it nothing: so the second is a value alone.
    scores = torch.where(mask, square, last)
    index = (scores.argmax(1) if farthest else scores.argmin(1))[:, None]
    if error is None:
        return index[:, 0]
    first = scores.gather(1, index)[:, 0]
    scores.scatter_(1, index, last)
    second = scores.amax(1) if farthest else scores.amin(1)
    (rows,) = ((first - second).abs() <= error).nonzero(as_tuple=True)
    if len(rows):
        exact = torch.where(mask[rows], _differences(points[rows].double(), points.double()), last)
        index[rows, 0] = exact.argmax(1) if farthest else exact.argmin(1)
    return index[:, 0]


def _distances(vectors: Tensor, kind: Distance) -> Tensor:
    if kind == "cosine":
        z = _safe.unit(vectors)
        return 1 - z @ z.T
    distances = _differences(vectors, vectors)
    return distances.square() if kind == "sqeuclidean" else distances


def _differences(one: Tensor, other: Tensor) -> Tensor:
    # A matrix product misses small distances by far in float32.
    return torch.cdist(one, other, compute_mode="donot_use_mm_for_euclid_dist")


def _hinge(
    distances: Tensor, labels: Tensor, margin: float, strategy: Strategy, nonzero: bool
) -> Triplets:
    """Add up over each pair's negatives by sorting an anchor's negatives once.

    A pair's triplets with d(a,n) < d(a,p) + margin are the first ones of the sorted row, so that
    their sum is a difference of cumulated sums.
    """
    same, other = same_and_other(labels)
    if not distances.numel():
        return Triplets(distances.sum(), same.sum())
    # Cumulated sums are differenced: in float64, lest their digits cancel.
    ranked = distances.double().masked_fill(~other, torch.inf).sort(1).values
    sums = F.pad(ranked.masked_fill(ranked.isinf(), 0).cumsum(1), (1, 0))
    to_positive = distances.double()
    limits = to_positive + margin
    within = torch.searchsorted(ranked.detach(), limits.detach())
    total = within * limits - sums.gather(1, within)
    number = within
    if strategy == "semihard":
        nearest = torch.searchsorted(ranked.detach(), to_positive.detach(), right=True)
        total = total - (nearest * limits - sums.gather(1, nearest))
        number = within - nearest
    elif not nonzero:
        number = other.sum(1, keepdim=True).expand_as(same)
    return Triplets(total.where(same, 0).sum().to(distances.dtype), number.where(same, 0).sum())


def _soft(distances: Tensor, labels: Tensor, window: float | None) -> Triplets:
    """Add up triplet by triplet, N pairs of anchor and positive at a time.

    Args:
        distances: Of all pairs (N, N).
        labels: The classes (N,).
        window: Take only triplets with d(a,p) < d(a,n) < d(a,p) + window.
    """
    same, other = same_and_other(labels)
    total, number = distances.sum() * 0, same.new_zeros((), dtype=torch.int64)
    anchors, positives = same.nonzero(as_tuple=True)
    pairs_at_once = max(len(labels), 1)
    for start in range(0, len(anchors), pairs_at_once):
        a, p = (index[start : start + pairs_at_once] for index in (anchors, positives))
        # Each part is computed again on the way back, so that only one is held at a time.
        part, counted = checkpoint(
            _soft_part,
            distances,
            other,
            a,
            p,
            window,
            use_reentrant=False,
            preserve_rng_state=False,
        )
        total, number = total + part, number + counted
    return Triplets(total, number)


def _soft_part(
    distances: Tensor, other: Tensor, a: Tensor, p: Tensor, window: float | None
) -> tuple[Tensor, Tensor]:
    to_positive, to_negatives = distances[a, p][:, None], distances[a]
    counts = other[a]
    if window is not None:
        counts = counts & (to_negatives > to_positive) & (to_negatives < to_positive + window)
    return _safe.softplus(to_positive - to_negatives).where(counts, 0).sum(), counts.sum()
