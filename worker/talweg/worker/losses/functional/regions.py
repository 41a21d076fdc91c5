"""Losses of regions: the overlap of predicted and true masks.

Three sums by sample and class, or by class over the whole batch, are all that they need.
Milletari et al. 2016 (Dice), Salehi et al. 2017 (Tversky), Abraham and Khan 2019 (focal).
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from talweg.worker.losses.functional import _safe
from talweg.worker.losses.functional._softmax_sums import SoftmaxSums

Mode = Literal["binary", "multilabel", "multiclass"]


class Overlap(NamedTuple):
    """Sums over positions, by sample and class (N, C), or by class (C,) over the batch."""

    both: Tensor
    """Σ p t."""
    pred: Tensor
    """Σ p, or Σ p²."""
    target: Tensor
    """Σ t, or Σ t²."""
    some: Tensor | None = None
    """Whether any position counts, for else the loss is 0; None where all do."""


def overlap(
    pred: Tensor,
    target: Tensor,
    mode: Mode,
    *,
    from_logits: bool = True,
    batch: bool = False,
    include_background: bool = True,
    squared: bool = False,
    ignore_index: int | None = None,
) -> Overlap:
    """Add up masks.

    Args:
        pred: Logits or probabilities (N, C, …).
        target: Of the same shape in [0, 1] (binary, multilabel), or class indices (N, …).
        mode: What the channels are: answers of their own, or classes of which one holds.
        from_logits: Apply the sigmoid or softmax first.
        batch: Add up over the samples too.
        include_background: Keep class 0; it is left out after the softmax. A single channel has
            no background.
        squared: Add up p² and t² in place of p and t.
        ignore_index: Positions whose target is this count for nothing.
    """
    pred, target = pred.flatten(2), target.flatten(1 if mode == "multiclass" else 2)
    mask = None if ignore_index is None else target != ignore_index
    if mask is not None:
        pred = _safe.keep(pred, mask)
    if mode == "multiclass":
        sums = _of_classes(pred, target, mask, squared, from_logits)
    else:
        probability = pred.sigmoid() if from_logits else pred
        sums = _of_answers(probability, target.to(probability), mask, squared)
    if mask is not None:
        some = mask.any(-1)
        sums = (*sums, some if some.dim() > 1 else some[:, None].expand(pred.shape[:2]))
    if not include_background and pred.shape[1] > 1:
        sums = tuple(by_class[:, 1:] for by_class in sums)
    if batch:
        sums = (*(by_class.sum(0) for by_class in sums[:3]), *(some.any(0) for some in sums[3:]))
    return Overlap(*sums)


def _of_answers(
    pred: Tensor, target: Tensor, mask: Tensor | None, squared: bool
) -> tuple[Tensor, ...]:
    if mask is not None:
        pred, target = pred.where(mask, 0), target.where(mask, 0)
    both = (pred * target).sum(2)
    if squared:
        pred, target = pred.square(), target.square()
    return both, pred.sum(2), target.sum(2)


def _of_classes(
    pred: Tensor, target: Tensor, mask: Tensor | None, squared: bool, from_logits: bool
) -> tuple[Tensor, ...]:
    count = None
    if mask is not None:
        target, count = target.where(mask, 0), mask.to(pred.dtype)
    ones = torch.ones_like(target, dtype=pred.dtype) if count is None else count
    number = pred.new_zeros(pred.shape[:2]).scatter_add(1, target, ones)
    if from_logits and not squared:
        both, total = SoftmaxSums.apply(pred, target, count)  # type: ignore[no-untyped-call]
        return both, total, number
    if from_logits:
        pred = pred.softmax(1)
    # One probability a position is gathered and added to its class: a one-hot mask would be as
    # large as pred, and be read three times.
    own = pred.gather(1, target[:, None])[:, 0] * ones
    both = torch.zeros_like(number).scatter_add(1, target, own)
    if squared:
        pred = pred.square()
    total = pred.sum(2) if count is None else (pred * count[:, None]).sum(2)
    return both, total, number


def dice(sums: Overlap, *, smooth_nr: float = 1e-5, smooth_dr: float = 1e-5) -> Tensor:
    """1 - (2I + nr) / (P + T + dr), a value a sum.

    Args:
        sums: Of predicted and true masks, from `overlap`.
        smooth_nr: Added above: what empty masks give.
        smooth_dr: Added below.

    Returns:
        A value a sum: (N, C), or (C,) of a pooled batch.

    Reference: Milletari et al. 2016, https://arxiv.org/abs/1606.04797
    """
    return _missing(2 * sums.both + smooth_nr, sums.pred + sums.target + smooth_dr, sums.some)


def jaccard(sums: Overlap, *, smooth_nr: float = 1e-5, smooth_dr: float = 1e-5) -> Tensor:
    """1 - (I + nr) / (P + T - I + dr), a value a sum.

    Args:
        sums: Of predicted and true masks, from `overlap`.
        smooth_nr: Added above: what empty masks give.
        smooth_dr: Added below.

    Returns:
        A value a sum: (N, C), or (C,) of a pooled batch.

    Reference: Rahman and Wang 2016, https://doi.org/10.1007/978-3-319-50835-1_22
    """
    under = sums.pred + sums.target - sums.both + smooth_dr
    return _missing(sums.both + smooth_nr, under, sums.some)


def tversky(
    sums: Overlap,
    *,
    alpha: float = 0.3,
    beta: float = 0.7,
    smooth_nr: float = 1e-5,
    smooth_dr: float = 1e-5,
) -> Tensor:
    """1 - (TP + nr) / (TP + alpha FP + beta FN + dr), a value a sum.

    Args:
        sums: Of predicted and true masks, from `overlap`.
        alpha: Weight of false positives.
        beta: Weight of false negatives.
        smooth_nr: Added above: what empty masks give.
        smooth_dr: Added below.

    Returns:
        A value a sum: (N, C), or (C,) of a pooled batch.

    Reference: Salehi et al. 2017, https://arxiv.org/abs/1706.05721
    """
    hit = sums.both
    under = hit + alpha * (sums.pred - hit) + beta * (sums.target - hit) + smooth_dr
    return _missing(hit + smooth_nr, under, sums.some)


def focal_tversky(
    sums: Overlap,
    *,
    alpha: float = 0.3,
    beta: float = 0.7,
    gamma: float = 0.75,
    smooth_nr: float = 1e-5,
    smooth_dr: float = 1e-5,
) -> Tensor:
    """tversky^gamma, a value a sum.

    Args:
        sums: Of predicted and true masks, from `overlap`.
        alpha: Weight of false positives.
        beta: Weight of false negatives.
        gamma: The power.
        smooth_nr: Added above: what empty masks give.
        smooth_dr: Added below.

    Returns:
        A value a sum: (N, C), or (C,) of a pooled batch.

    Reference: Abraham and Khan 2019, https://arxiv.org/abs/1810.07842
    """
    base = tversky(sums, alpha=alpha, beta=beta, smooth_nr=smooth_nr, smooth_dr=smooth_dr)
    return _safe.power(base, gamma)


def _missing(over: Tensor, under: Tensor, some: Tensor | None) -> Tensor:
    # Without smoothing an empty mask is 0 / 0, and rightly predicted.
    loss = 1 - _safe.divide(over, under, empty=1)
    return loss if some is None else loss.where(some, 0)
