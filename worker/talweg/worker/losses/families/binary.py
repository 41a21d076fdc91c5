"""Losses of yes or no, one answer an element: pred (N, …) against target (N, …) in [0, 1]."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from talweg.v1 import losses_pb2 as pb
from talweg.worker.losses import checks
from talweg.worker.losses.base import (
    LossModule,
    TorchElementwise,
    YesOrNo,
    reduction_of,
    weights_tensor,
)
from talweg.worker.losses.functional.classification import (
    bernoulli_nll,
    certain,
    without_certain,
)


class BceWithLogits(TorchElementwise, YesOrNo):
    """Binary cross-entropy of logits.

    L = -weight (pos_weight y log σ(z) + (1 - y) log(1 - σ(z))), with z = pred, y = target

    The weights belong to the last dimension; over pred (N,) a single weight counts for all. The
    mean divides by the number of elements.

    Args:
        weight: A factor for each element of the last dimension (values, balanced or
            effective_number), none where absent.
        pos_weight: A factor for the positive term of each element of the last dimension (values,
            balanced or effective_number), none where absent.
        reduction: mean (default), sum or none.

    Inputs: pred (N, …); target (N, …) in [0, 1].
    Returns: A value an element (N, …), or the reduced scalar.
    Reference: Good 1952, https://doi.org/10.1111/j.2517-6161.1952.tb00104.x
    """

    weighs_last_dimension = True
    weight: Tensor | None
    """A factor an element of the last dimension, or none."""
    pos_weight: Tensor | None
    """A factor of the positive term, an element of the last dimension, or none."""

    def __init__(self, spec: pb.BceWithLogits) -> None:
        """Make the loss of a filled message."""
        super().__init__(reduction_of(spec))
        for name in ("weight", "pos_weight"):
            weights = weights_tensor(spec, name)
            self.register_buffer(name, weights, persistent=False)

    def _take(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        pred, target = super()._take(inputs)
        for name, weights in (("weight", self.weight), ("pos_weight", self.pos_weight)):
            if weights is not None and not _fits(weights, pred):
                raise ValueError(
                    f"{name} must have one value per element of pred's last dimension, "
                    f"{pred.shape[-1] if pred.dim() else 1}, but got {len(weights)}"
                )
        return pred, target

    def _torch(self, pred: Tensor, target: Tensor, reduction: str) -> Tensor:
        loss = self._as_torch(pred, target, reduction)
        # Right answers of ±inf are NaN in torch. They are rare: on the CPU they are looked for
        # where the loss is NaN alone, and a GPU would be waited for.
        if pred.is_cpu and not bool(loss.isnan().any()):
            return loss
        free = certain(pred, target) | self._of_weight_0(target)
        # Before and after: the gradient at a NaN is NaN.
        values = self._as_torch(pred.masked_fill(free, 0), target, "none").masked_fill(free, 0)
        if reduction == "none":
            return values
        return values.sum() if reduction == "sum" else values.mean()

    def _of_weight_0(self, target: Tensor) -> Tensor:
        """Return where an element counts for nothing, whatever its logit is."""
        free = torch.zeros_like(target, dtype=torch.bool)
        if self.weight is not None:
            free = free | (self.weight == 0)
        if self.pos_weight is not None:
            free = free | ((self.pos_weight == 0) & (target == 1))
        return free

    def _as_torch(self, pred: Tensor, target: Tensor, reduction: str) -> Tensor:
        return F.binary_cross_entropy_with_logits(
            pred,
            target,
            weight=None if self.weight is None else self.weight.to(pred),
            pos_weight=None if self.pos_weight is None else self.pos_weight.to(pred),
            reduction=reduction,
        )


def _fits(weights: Tensor, pred: Tensor) -> bool:
    return (pred.dim() < 2 and len(weights) == 1) or (
        pred.dim() > 0 and len(weights) == pred.shape[-1]
    )


class Bce(YesOrNo):
    """Binary cross-entropy of probabilities.

    L = -(y log p + (1 - y) log(1 - p)), each logarithm at least -100

    Args:
        reduction: mean (default), sum or none.

    Inputs: pred (N, …) in [0, 1]; target (N, …) in [0, 1].
    Returns: A value an element (N, …), or the reduced scalar.
    Reference: Good 1952, https://doi.org/10.1111/j.2517-6161.1952.tb00104.x
    """

    def __init__(self, spec: pb.Bce) -> None:
        """Make the loss of a filled message."""
        super().__init__(reduction_of(spec))

    def check_values(self, inputs: Mapping[str, Tensor]) -> None:
        """Refuse probabilities and targets outside [0, 1]; see `LossModule.check_values`."""
        super().check_values(inputs)
        if "pred" in inputs:
            checks.require_between("pred", inputs["pred"], 0, 1)

    def _values(self, pred: Tensor, target: Tensor) -> Tensor:
        return bernoulli_nll(pred, target)


class FocalBinary(YesOrNo):
    """Binary focal loss: binary cross-entropy in which easy elements count less.

    L = -α_y (1 - p_y)^gamma log p_y, with p_1 = σ(pred), p_0 = 1 - p_1

    α_1 = alpha and α_0 = 1 - alpha, or 1 both where alpha is absent. A target between 0 and 1
    mixes both terms. The mean divides by the elements, or by the positives, of which there is at
    least one.

    Args:
        alpha: Weight of the positives, 1 - alpha that of the negatives; no weighting where absent;
            in [0, 1].
        gamma: How strongly easy samples are damped; ≥ 0, default 2.
        normalizer: What the mean divides by: mean (default) or positives.
        reduction: mean (default), sum or none.

    Inputs: pred (N, …); target (N, …) in [0, 1].
    Returns: A value an element (N, …), or the reduced scalar.
    Reference: Lin et al. 2017, https://arxiv.org/abs/1708.02002
    """

    def __init__(self, spec: pb.FocalBinary) -> None:
        """Make the loss of a filled message."""
        super().__init__(reduction_of(spec))
        self.gamma = spec.gamma
        self.alpha = (spec.alpha, 1 - spec.alpha) if spec.HasField("alpha") else (1.0, 1.0)
        self.by_positives = spec.normalizer == pb.FocalBinary.Normalizer.positives
        self._least_divisor = 1.0 if self.by_positives else 0.0

    def _values(self, pred: Tensor, target: Tensor) -> Tensor:
        pred = without_certain(pred, target)
        # (1 - p_y)^gamma by its logarithm: a power below 1 has no finite gradient at 0.
        yes, no = F.logsigmoid(pred), F.logsigmoid(-pred)
        terms = []
        for alpha, share, log_p, log_rest in (
            (self.alpha[0], target, yes, no),
            (self.alpha[1], 1 - target, no, yes),
        ):
            if alpha:
                terms.append(alpha * share * torch.exp(self.gamma * log_rest) * -log_p)
        return terms[0] + terms[1] if len(terms) > 1 else terms[0]

    def divisor(self, target: Tensor) -> Tensor | None:
        """Return the positives, where the mean is by them; see `LossModule.divisor`."""
        return target.detach().sum().clamp(min=1) if self.by_positives else None

    def _weight(self, *tensors: Tensor) -> float | Tensor:
        return tensors[1].detach().sum() if self.by_positives else super()._weight(*tensors)

    def _mean(self, values: Tensor, *tensors: Tensor) -> Tensor:
        divisor = self.divisor(tensors[1])
        return super()._mean(values) if divisor is None else values.sum() / divisor


class AsymmetricMultilabel(YesOrNo):
    """Asymmetric loss of many labels, its focus apart for positives and negatives.

    L = -y (1 - p)^gamma_pos log p - (1 - y) m^gamma_neg log(1 - m),
        with p = σ(pred), m = max(p - clip, 0)

    Args:
        gamma_neg: How strongly easy negatives are damped; ≥ 0, default 4.
        gamma_pos: How strongly easy positives are damped; ≥ 0, default 1.
        clip: Negatives of a lower probability than this count for nothing; in [0, 1), default
            0.05.
        reduction: mean (default), sum, none or batchmean; batchmean is the sum divided by N.

    Inputs: pred (N, …); target (N, …) in [0, 1].
    Returns: A value an element (N, …), or the reduced scalar.
    Reference: Ridnik et al. 2021, https://arxiv.org/abs/2009.14119
    """

    def __init__(self, spec: pb.AsymmetricMultilabel) -> None:
        """Make the loss of a filled message."""
        super().__init__(reduction_of(spec))
        self.gamma_neg = spec.gamma_neg
        self.gamma_pos = spec.gamma_pos
        self.clip = spec.clip

    def _values(self, pred: Tensor, target: Tensor) -> Tensor:
        pred = without_certain(pred, target)
        yes, no = F.logsigmoid(pred), F.logsigmoid(-pred)
        positive = torch.exp(self.gamma_pos * no) * -yes
        # log(1 - m) = log(1 - p + clip) is added up from logarithms, as 1 - p rounds to 0. At
        # m = 0 a power below 1 has no finite gradient, so the base stays above 0.
        shifted = F.relu(torch.sigmoid(pred) - self.clip)
        log_clip = pred.new_tensor(math.log(self.clip) if self.clip else -math.inf)
        rest = torch.where(shifted > 0, torch.logaddexp(no, log_clip), 0)
        negative = shifted.clamp(min=torch.finfo(pred.dtype).tiny) ** self.gamma_neg * -rest
        return target * positive + (1 - target) * negative

    def _reduce(self, values: Tensor, *tensors: Tensor) -> Tensor:
        if self.reduction == "batchmean":
            return values.sum() / max(len(values) if values.dim() else 1, 1)
        return super()._reduce(values, *tensors)


BUILDERS: dict[str, type[LossModule]] = {
    "bce_with_logits": BceWithLogits,
    "bce": Bce,
    "focal_binary": FocalBinary,
    "asymmetric_multilabel": AsymmetricMultilabel,
}
"""The losses of this family."""
