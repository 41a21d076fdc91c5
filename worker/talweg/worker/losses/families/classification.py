"""Losses of one class out of several: logits pred (N, C, …) against class indices (N, …).

p_y is the softmax's probability of the right class and CE = -log p_y.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from talweg.v1 import losses_pb2 as pb
from talweg.worker.losses import checks
from talweg.worker.losses.base import (
    Classes,
    LossModule,
    reduction_of,
    same_precision,
    take_logits,
    weights_tensor,
)
from talweg.worker.losses.functional import _safe


class CrossEntropy(Classes):
    """Cross-entropy of logits, against class indices or a distribution over the classes.

    L = -weight_y log p_y, or -Σ_c weight_c t_c log p_c under target_prob t, with p = softmax(pred)

    Smoothing spreads its share evenly over all C classes. Over class indices the mean divides by
    the sum of the targets' weights, ignored ones left out; over probabilities by the number of
    positions.

    Args:
        weight: One weight a class (values, balanced or effective_number), none where absent; the
            mean divides by the sum of the targets' weights.
        ignore_index: Targets of this value count for nothing; default -100.
        label_smoothing: The share of the target that is spread evenly over all classes; in [0, 1],
            default 0.
        reduction: mean (default), sum or none.

    Inputs: pred (N, C, …); target (N, …) class index, or target_prob (N, C, …).
    Returns: A value a position (N, …), or the reduced scalar.
    Reference: Good 1952, https://doi.org/10.1111/j.2517-6161.1952.tb00104.x
    """

    input_names = ("pred",)
    optional_names = ("target", "target_prob")
    weight: Tensor | None
    """One weight a class, or none."""

    def __init__(self, spec: pb.CrossEntropy) -> None:
        """Make the loss of a filled message."""
        super().__init__(reduction_of(spec))
        self.register_buffer("weight", weights_tensor(spec, "weight"), persistent=False)
        self.ignore_index: int = spec.ignore_index
        self.label_smoothing = spec.label_smoothing

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the reduced loss; see `LossModule.forward`."""
        pred, target = self._take(inputs)
        if self.reduction != "mean":
            return self._torch(pred, target, self.reduction)
        # torch's own mean is the fastest, but 0/0 where nothing counts. Looking at it is free on
        # the CPU; on a GPU it would wait, so there the division is done here.
        if pred.is_cpu:
            mean = self._torch(pred, target, "mean")
            if not math.isnan(mean.item()):
                return mean
        divisor = self.divisor(target)
        if divisor is None:
            return self._torch(pred, target, "sum") / max(pred.select(1, 0).numel(), 1)
        return self._torch(pred, target, "sum") / divisor.to(pred)

    def check_values(self, inputs: Mapping[str, Tensor]) -> None:
        """Refuse classes out of range and what is no distribution over the classes."""
        super().check_values(inputs)
        if "target_prob" in inputs:
            checks.require_between("target_prob", inputs["target_prob"], 0, 1)
            checks.require_distribution("target_prob", inputs["target_prob"])

    def _take(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        checks.require_names(inputs, self.input_names, self.optional_names)
        if ("target" in inputs) == ("target_prob" in inputs):
            raise ValueError(
                "inputs must be pred and either target or target_prob, but got "
                + ("both" if "target" in inputs else "neither")
            )
        pred = inputs["pred"]
        if "target" in inputs:
            pred, target = self._take_indices(pred, inputs["target"])
        else:
            pred = take_logits(pred)
            target = inputs["target_prob"]
            checks.require_floats("target_prob", target, ": one-hot integers go as indices")
            checks.require_shape("target_prob", target, pred.shape, "the shape of pred")
            pred, target = same_precision(pred, target)
        if self.weight is not None:
            checks.require_one_a_class("weight", self.weight, pred)
        return self._countable(pred, target), target

    def _countable(self, pred: Tensor, target: Tensor) -> Tensor:
        """Return logits without those that count for nothing and would give NaN all the same."""
        if not target.is_floating_point():
            counts = torch.ne(target, self.ignore_index)
            if not self.label_smoothing:
                # Smoothing gives a share of each position to the other classes.
                counts = _weighed(counts, target, self.weight)
            return _safe.keep(pred, counts)
        if self.label_smoothing:
            return pred
        share = target
        if self.weight is not None:
            share = target * self.weight.to(pred).reshape(-1, *[1] * (pred.dim() - 2))
        # 0 log 0 is 0, and 0 times a logarithm of -inf is not.
        lowest = torch.finfo(pred.dtype).min / 4
        return pred.masked_fill(pred.isneginf() & (share == 0), lowest)

    def _values(self, pred: Tensor, target: Tensor) -> Tensor:
        return self._torch(pred, target, "none")

    def _torch(self, pred: Tensor, target: Tensor, reduction: str) -> Tensor:
        return F.cross_entropy(
            pred,
            target,
            weight=None if self.weight is None else self.weight.to(pred),
            ignore_index=self.ignore_index,
            reduction=reduction,
            label_smoothing=self.label_smoothing,
        )

    def divisor(self, target: Tensor) -> Tensor | None:
        """Return the weights of the targets that count; see `LossModule.divisor`."""
        if target.is_floating_point():
            return None
        weight = self._weight_of(target)
        return weight.where(weight > 0, 1)

    def _weight(self, *tensors: Tensor) -> float | Tensor:
        pred, target = tensors
        return len(pred) if target.is_floating_point() else self._weight_of(target)

    def _weight_of(self, target: Tensor) -> Tensor:
        counts = torch.ne(target, self.ignore_index)
        if self.weight is None:
            return counts.sum()
        return (self.weight[target.where(counts, 0)] * counts).sum()


def _weighed(counts: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
    """Return which positions count and are of a class whose weight is not 0."""
    # Few weights are 0, and looking at them is free on the CPU.
    if weight is None or (weight.is_cpu and bool((weight > 0).all())):
        return counts
    return counts & (weight > 0)[target.where(counts, 0)]


class Focal(Classes):
    """Focal loss over classes: cross-entropy in which easy positions count less.

    L = alpha_y (1 - p_y)^gamma CE, with CE = -log p_y, p = softmax(pred), y the target

    The mean divides by the number of targets not ignored.

    Args:
        gamma: How strongly easy samples are damped; 0 is cross-entropy; ≥ 0, default 2.
        alpha: One factor a class (values, balanced or effective_number), none where absent.
        ignore_index: Targets of this value count for nothing; default -100.
        reduction: mean (default), sum or none.

    Inputs: pred (N, C, …); target (N, …) class index.
    Returns: A value a position (N, …), or the reduced scalar.
    Reference: Lin et al. 2017, https://arxiv.org/abs/1708.02002
    """

    alpha: Tensor | None
    """One factor a class, or none."""

    def __init__(self, spec: pb.Focal) -> None:
        """Make the loss of a filled message."""
        super().__init__(reduction_of(spec))
        self.gamma = spec.gamma
        self.register_buffer("alpha", weights_tensor(spec, "alpha"), persistent=False)
        self.ignore_index: int = spec.ignore_index

    def _take(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        pred, target = super()._take(inputs)
        if self.alpha is not None:
            checks.require_one_a_class("alpha", self.alpha, pred)
        counts = _weighed(torch.ne(target, self.ignore_index), target, self.alpha)
        return _safe.keep(pred, counts), target

    def _values(self, pred: Tensor, target: Tensor) -> Tensor:
        ce = F.cross_entropy(pred, target, ignore_index=self.ignore_index, reduction="none")
        # Above 0, since at p_y = 1 a power below 1 has no finite gradient.
        rest = -torch.expm1(-ce)
        loss = rest.clamp(min=torch.finfo(ce.dtype).tiny) ** self.gamma * ce
        if self.alpha is None:
            return loss
        counted = target.where(torch.ne(target, self.ignore_index), 0)
        return self.alpha.to(pred)[counted] * loss

    def divisor(self, target: Tensor) -> Tensor:
        """Return the number of targets that count; see `LossModule.divisor`."""
        return self._weight(target).clamp(min=1)

    def _weight(self, *tensors: Tensor) -> Tensor:
        return torch.ne(tensors[-1], self.ignore_index).sum()

    def _mean(self, values: Tensor, *tensors: Tensor) -> Tensor:
        return values.sum() / self.divisor(tensors[1])


class MultiMargin(Classes):
    """Multi-class hinge loss.

    L = Σ_j≠y max(0, margin - z_y + z_j) / C, with z = pred

    Args:
        margin: By how much the right class's score must lead, in units of the scores; > 0, default
            1.
        reduction: mean (default), sum or none.

    Inputs: pred (N, C); target (N,) class index.
    Returns: A value a sample (N,), or the reduced scalar.
    Reference: Crammer and Singer 2001
    """

    def __init__(self, spec: pb.MultiMargin) -> None:
        """Make the loss of a filled message."""
        super().__init__(reduction_of(spec))
        self.margin = spec.margin

    def _take(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        pred, target = super()._take(inputs)
        checks.require_dimensions("pred", pred, "(N, C)")
        return pred, target

    def _values(self, pred: Tensor, target: Tensor) -> Tensor:
        # Torch's own gives 0 for a prediction of NaN.
        own = target[:, None]
        short = F.relu(self.margin - pred.gather(1, own) + pred)
        return short.scatter(1, own, 0).sum(1) / pred.shape[1]


class Poly1(Classes):
    """Poly-1 loss: cross-entropy with its first polynomial coefficient raised.

    L = CE + epsilon (1 - p_y), with CE = -log p_y, p = softmax(pred), y the target

    Args:
        epsilon: Weight of the added term; ≥ -1, default 1.
        reduction: mean (default), sum or none.

    Inputs: pred (N, C, …); target (N, …) class index.
    Returns: A value a position (N, …), or the reduced scalar.
    Reference: Leng et al. 2022, https://arxiv.org/abs/2204.12511
    """

    def __init__(self, spec: pb.Poly1) -> None:
        """Make the loss of a filled message."""
        super().__init__(reduction_of(spec))
        self.epsilon = spec.epsilon

    def _values(self, pred: Tensor, target: Tensor) -> Tensor:
        ce = F.cross_entropy(pred, target, reduction="none")
        return ce - self.epsilon * torch.expm1(-ce)


class GeneralizedCe(Classes):
    """Generalised cross-entropy, between cross-entropy (q → 0) and absolute error (q = 1).

    L = (1 - p_y^q) / q, with p = softmax(pred)

    Args:
        q: How far towards the robust end; in (0, 1], default 0.7.
        reduction: mean (default), sum or none.

    Inputs: pred (N, C, …); target (N, …) class index.
    Returns: A value a position (N, …), or the reduced scalar.
    Reference: Zhang and Sabuncu 2018, https://arxiv.org/abs/1805.07836
    """

    def __init__(self, spec: pb.GeneralizedCe) -> None:
        """Make the loss of a filled message."""
        super().__init__(reduction_of(spec))
        self.q = spec.q

    def _values(self, pred: Tensor, target: Tensor) -> Tensor:
        # p^q through the logarithm: its gradient is finite at p = 0.
        return -torch.expm1(-self.q * F.cross_entropy(pred, target, reduction="none")) / self.q


class SymmetricCe(Classes):
    """Symmetric cross-entropy: cross-entropy and its reverse, which is robust.

    L = alpha CE - beta A (1 - p_y), with CE = -log p_y, p = softmax(pred), y the target

    Args:
        alpha: Weight of cross-entropy; ≥ 0, default 0.1.
        beta: Weight of reverse cross-entropy; ≥ 0, default 1.
        A: What log 0 is taken for; < 0, default -4.
        reduction: mean (default), sum or none.

    Inputs: pred (N, C, …); target (N, …) class index.
    Returns: A value a position (N, …), or the reduced scalar.
    Reference: Wang et al. 2019, https://arxiv.org/abs/1908.06112
    """

    def __init__(self, spec: pb.SymmetricCe) -> None:
        """Make the loss of a filled message."""
        super().__init__(reduction_of(spec))
        self.alpha = spec.alpha
        self.beta = spec.beta
        self.log_zero = spec.A

    def _values(self, pred: Tensor, target: Tensor) -> Tensor:
        ce = F.cross_entropy(pred, target, reduction="none")
        weights = self.alpha, self.beta * self.log_zero
        return _safe.weighed_sum(weights, (ce, torch.expm1(-ce)), pred)


BUILDERS: dict[str, type[LossModule]] = {
    "cross_entropy": CrossEntropy,
    "focal": Focal,
    "multi_margin": MultiMargin,
    "poly1": Poly1,
    "generalized_ce": GeneralizedCe,
    "symmetric_ce": SymmetricCe,
}
"""The losses of this family."""
