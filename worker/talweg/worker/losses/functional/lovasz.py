"""The Lovász extension of the Jaccard loss. Berman, Rannen Triki and Blaschko 2018.

Errors are sorted, and each counts by how much it lowers the index. They pool all positions, so
that none has a value of its own.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from talweg.worker.losses.functional import _safe


def lovasz_softmax(
    pred: Tensor,
    target: Tensor,
    *,
    present: bool = True,
    per_image: bool = False,
    ignore_index: int | None = None,
) -> Tensor:
    """Return the mean over classes of the extension at the errors |[y = c] - p_c|.

    Args:
        pred: Logits (N, C, …).
        target: Class indices (N, …).
        present: Count only classes that the targets hold.
        per_image: Treat each sample alone and average them, in place of pooling the batch.
        ignore_index: Positions whose target is this count for nothing.

    Returns:
        A scalar; 0 where nothing counts.

    Reference: Berman et al. 2018, https://arxiv.org/abs/1705.08790
    """
    if not pred.numel():
        return pred.sum()
    mask = None if ignore_index is None else target != ignore_index
    if mask is not None:
        pred = _safe.keep(pred, mask)
    probability, target = pred.softmax(1).flatten(2), target.flatten(1)
    if not per_image:
        probability = probability.transpose(0, 1).flatten(1)[None]
        target = target.flatten()[None]
    classes = torch.arange(pred.shape[1], device=pred.device)
    truth = target[:, None] == classes[:, None]
    errors = (truth.to(probability) - probability).abs()
    if mask is not None:
        # No error and no truth: sorted last, they take part in nothing.
        mask = mask.reshape(target.shape)[:, None]
        errors, truth = errors.where(mask, 0), truth & mask
    by_class = _extension(errors, truth)
    counts = truth.any(2) if present else torch.ones_like(by_class, dtype=torch.bool)
    number = counts.sum(1)
    return _safe.divide(by_class.where(counts, 0).sum(1), number.to(by_class)).mean()


def lovasz_hinge(pred: Tensor, target: Tensor) -> Tensor:
    """Return the extension at the errors max(0, 1 - z sign), pooled over the batch.

    Args:
        pred: Logits z (N, …).
        target: 0 or 1, of the same shape.

    Returns:
        A scalar.

    Reference: Yu and Blaschko 2015, https://arxiv.org/abs/1512.07797
    """
    truth = target.flatten() > 0.5
    if not truth.numel():
        return pred.sum()
    sign = 2 * truth.to(pred) - 1
    return _extension(1 - pred.flatten() * sign, truth, floor=True)


def _extension(errors: Tensor, truth: Tensor, floor: bool = False) -> Tensor:
    """Return the extension over the last dimension; errors below 0 count as 0 if asked."""
    errors, order = errors.sort(stable=True, dim=-1, descending=True)
    truth = truth.gather(-1, order)
    number = truth.sum(-1, keepdim=True)
    # Whole numbers, which float32 would not count beyond 2^24.
    left = number - truth.cumsum(-1)
    union = number + (~truth).cumsum(-1)
    index = 1 - left.to(errors) / union
    steps = torch.diff(index, dim=-1, prepend=torch.zeros_like(index[..., :1]))
    return ((F.relu(errors) if floor else errors) * steps).sum(-1)
