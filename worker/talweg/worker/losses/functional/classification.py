"""Losses of yes or no, of classes and ranks, of a teacher, and of sequences.

Logits are pred (N, C, …) and targets class indices (N, …), unless a function says otherwise.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from talweg.worker.losses.functional import _safe

# From this logit on every sigmoid is 0 or 1, in float64 too.
_SURE = 1e4


def bernoulli_nll(pred: Tensor, target: Tensor) -> Tensor:
    """-(y log p + (1 - y) log(1 - p)), each logarithm at least -100, a value an element.

    Where a logarithm is held its slope is 1e12, as in torch. torch's own function raises on NaN,
    so that a run that diverges would look like a fault.

    Args:
        pred: Probabilities p (N, …).
        target: Y in [0, 1], of the same shape.

    Returns:
        A value an element (N, …).

    Reference: Good 1952, https://doi.org/10.1111/j.2517-6161.1952.tb00104.x
    """
    limits = torch.finfo(pred.dtype)
    yes = _safe.log(pred)
    bounded = -100 - (pred - pred.detach()) * _safe.STEEPEST
    no = torch.where(pred == 1, bounded, torch.log1p(-pred.clamp(max=1 - limits.eps / 2)))
    return -target * yes - (1 - target) * no


def logit_adjusted(
    pred: Tensor, target: Tensor, class_counts: Tensor, *, tau: float = 1.0
) -> Tensor:
    """CE(z + tau log prior), a value a position.

    Args:
        pred: Logits (N, C, …).
        target: Class indices (N, …).
        class_counts: How often each class is seen in training (C,), above 0.
        tau: How strongly the rare classes are helped.

    Returns:
        A value a position (N, …).

    Reference: Menon et al. 2021, https://arxiv.org/abs/2007.07314
    """
    prior = class_counts.to(pred) / class_counts.sum()
    shift = tau * torch.log(prior)
    return F.cross_entropy(_add_by_class(pred, shift), target, reduction="none")


def ldam(
    pred: Tensor,
    target: Tensor,
    class_counts: Tensor,
    *,
    max_margin: float = 0.5,
    scale: float = 30.0,
    weight: Tensor | None = None,
) -> Tensor:
    """CE(scale (z - m_y onehot)), m_j = max_margin n_j^-¼ / max n^-¼.

    Args:
        pred: Cosines (N, C).
        target: Class indices (N,).
        class_counts: How often each class is seen in training (C,), above 0.
        max_margin: The rarest class's margin.
        scale: What the cosines are multiplied by.
        weight: A factor a class (C,), or none.

    Returns:
        A weighted value a sample. Their mean divides by the sum of the targets' weights.

    Reference: Cao et al. 2019, https://arxiv.org/abs/1906.07413
    """
    rarity = class_counts.to(pred) ** -0.25
    margins = max_margin * rarity / rarity.max()
    shifted = pred - margins * F.one_hot(target, pred.shape[1])
    return F.cross_entropy(scale * shifted, target, weight=weight, reduction="none")


def coral(pred: Tensor, target: Tensor) -> Tensor:
    """Σ_k BCE(z_k, [rank > k]), a value a sample.

    Args:
        pred: Logits (N, K-1) of rank > 0, …, rank > K-2.
        target: Ranks (N,), 0 to K-1.

    Returns:
        A value a sample (N,).

    Reference: Cao, Mirjalili and Raschka 2020, https://arxiv.org/abs/1901.07884
    """
    return _above(pred, target).sum(1)


def corn(pred: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Σ_k≤rank BCE(z_k, [rank > k]).

    Args:
        pred: Logits (N, K-1) of rank > k given rank ≥ k.
        target: Ranks (N,), 0 to K-1.

    Returns:
        A value a sample, and how many levels each sample takes part in (N,): the mean is the
        quotient of their sums.

    Reference: Shi, Cao and Raschka 2021, https://arxiv.org/abs/2111.08851
    """
    taking_part = target[:, None] >= _levels(pred)
    values = _above(pred.where(taking_part, 0), target) * taking_part
    return values.sum(1), taking_part.sum(1)


def distillation(pred: Tensor, teacher_logits: Tensor, *, temperature: float = 1.0) -> Tensor:
    """T² KL(teacher ‖ student) at temperature T, a value a sample.

    Args:
        pred: The student's logits (N, C).
        teacher_logits: The teacher's, of the same shape.
        temperature: T; what both are divided by.

    Returns:
        A value a sample (N,).

    Reference: Hinton et al. 2015, https://arxiv.org/abs/1503.02531
    """
    student = F.log_softmax(pred / temperature, 1)
    teacher = F.log_softmax(teacher_logits / temperature, 1)
    # What the teacher rules out adds 0 log 0, which is 0.
    impossible = teacher.isneginf()
    student, teacher = student.masked_fill(impossible, 0), teacher.masked_fill(impossible, 0)
    divergence = F.kl_div(student, teacher, log_target=True, reduction="none")
    return temperature**2 * divergence.sum(1)


def bce_with_logits(pred: Tensor, target: Tensor) -> Tensor:
    """-(y log σ(p) + (1 - y) log(1 - σ(p))), a value an element; 0 for a right answer of ±inf.

    Args:
        pred: Logits p (N, …).
        target: Y in [0, 1], of the same shape.
    """
    values = F.binary_cross_entropy_with_logits(pred, target, reduction="none")
    return values.masked_fill(certain(pred, target), 0)


def certain(pred: Tensor, target: Tensor) -> Tensor:
    """Return where logits of ±inf give exactly their targets 1 or 0, which costs nothing."""
    return pred.isinf() & (target == (pred > 0))


def without_certain(pred: Tensor, target: Tensor) -> Tensor:
    """Return logits in which those that are `certain` are finite; they still cost nothing."""
    sure = certain(pred, target)
    if sure.is_cpu and not bool(sure.any()):
        return pred
    return torch.where(sure, pred.detach().clamp(-_SURE, _SURE), pred)


def ctc(
    pred: Tensor,
    targets: Tensor,
    target_lengths: Tensor,
    input_lengths: Tensor,
    *,
    blank: int = 0,
    refuses_impossible: bool = False,
) -> Tensor:
    """-log p(targets), over all alignments, a value a sequence.

    Args:
        pred: Logits (T, N, C).
        targets: Classes (N, S), padded.
        target_lengths: How many of them count (N,).
        input_lengths: How many time steps count (N,).
        blank: The class of no symbol.
        refuses_impossible: Raise where a sequence has no alignment, in place of counting it as 0.

    Returns:
        A value a sequence (N,), 0 where no alignment is possible. Their mean divides each by its
        target's length first, as `ctc_mean` does.

    Raises:
        ValueError: A sequence has no alignment.

    Reference: Graves et al. 2006, https://doi.org/10.1145/1143844.1143891
    """
    # Time steps behind a sequence's end take no part, whatever they hold.
    steps = torch.arange(len(pred), device=pred.device)[:, None]
    taking_part = steps < input_lengths.to(pred.device)
    shares = F.log_softmax(pred.where(taking_part[..., None], 0), 2)
    values = F.ctc_loss(
        shares,
        targets,
        input_lengths,
        target_lengths,
        blank=blank,
        reduction="none",
        zero_infinity=not refuses_impossible,
    )
    if refuses_impossible and bool(values.isposinf().any()):
        row = int(values.isposinf().nonzero()[0])
        raise ValueError(
            f"targets must have an alignment under impossible error, but sequence {row} has none: "
            f"{int(target_lengths[row])} symbols in {int(input_lengths[row])} time steps, each "
            f"repeated symbol taking one more step for the blank before it"
        )
    return values


def ctc_mean(values: Tensor, target_lengths: Tensor) -> Tensor:
    """Return the mean over sequences of each value by its target's length, at least 1."""
    return (values / target_lengths.to(values).clamp(min=1)).sum() / max(len(values), 1)


def _add_by_class(pred: Tensor, by_class: Tensor) -> Tensor:
    return pred + by_class.reshape(-1, *[1] * (pred.dim() - 2))


def _levels(pred: Tensor) -> Tensor:
    return torch.arange(pred.shape[1], device=pred.device)


def _above(pred: Tensor, target: Tensor) -> Tensor:
    return bce_with_logits(pred, (target[:, None] > _levels(pred)).to(pred))
