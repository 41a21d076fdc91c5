"""Losses that know how often each class is seen: logits or cosines against class indices.

n_c is how often class c stands in the training data.
"""

from collections.abc import Iterable, Mapping

from torch import Tensor
from torch.nn import functional as F

from talweg.v1 import losses_pb2 as pb
from talweg.worker.losses import checks
from talweg.worker.losses.base import Classes, LossModule, floats, reduction_of, weights_tensor
from talweg.worker.losses.functional import _safe
from talweg.worker.losses.functional import classification as functional


def _counts_tensor(counts: Iterable[float]) -> Tensor:
    tensor = floats(counts)
    if tensor is None:
        raise ValueError(
            "class_counts must have one value per class where there is no training split to "
            "count the classes in, but got none"
        )
    return tensor


class _ByCount(Classes):
    """A loss with a buffer of class counts."""

    class_counts: Tensor
    """How often each class is seen in training (C,)."""

    def _take(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        pred, target = super()._take(inputs)
        checks.require_one_a_class("class_counts", self.class_counts, pred)
        return pred, target


class LogitAdjusted(_ByCount):
    """Logit-adjusted cross-entropy, which minimises the balanced error.

    L = CE(z + tau log(n / Σ n)) in training mode, CE(z) in evaluation mode, with z = pred

    n are the class counts.

    Args:
        tau: How strongly rare classes are helped; 0 is cross-entropy; ≥ 0, default 1.
        class_counts: How often each class stands in the training data; where absent, counted in
            the training split, a class that is never seen as once; each > 0, at most 65536.
        reduction: mean (default), sum or none.

    Inputs: pred (N, C, …); target (N, …) class index.
    Returns: A value a position (N, …), or the reduced scalar.
    Reference: Menon et al. 2021, https://arxiv.org/abs/2007.07314
    """

    def __init__(self, spec: pb.LogitAdjusted) -> None:
        """Make the loss of a filled message.

        Raises:
            ValueError: There are no class counts.
        """
        super().__init__(reduction_of(spec))
        self.tau = spec.tau
        counts = _counts_tensor(spec.class_counts)
        self.register_buffer("class_counts", counts, persistent=False)

    def _values(self, pred: Tensor, target: Tensor) -> Tensor:
        if not self.training:
            return F.cross_entropy(pred, target, reduction="none")
        return functional.logit_adjusted(pred, target, self.class_counts, tau=self.tau)


class Ldam(_ByCount):
    """Label-distribution-aware margin loss (LDAM): rare classes get larger margins.

    L = weight_y CE(scale (z - m_y onehot)), with m_j = max_margin n_j^-¼ / max n^-¼, z = pred

    pred holds cosines and n the class counts. The mean divides by the sum of the targets' weights.

    Args:
        max_margin: The rarest class's margin, in units of the cosine; ≥ 0, default 0.5.
        scale: What the cosines are multiplied by; > 0, default 30.
        class_counts: How often each class stands in the training data; where absent, counted in
            the training split, a class that is never seen as once; each > 0, at most 65536.
        weight: One weight a class (values, balanced or effective_number), none where absent; the
            mean divides by the sum of the targets' weights.
        embedding_size: Length of the vectors that the model gives in a job, each compared with one
            learned vector a class; in [1, 65536], default 64.
        reduction: mean (default), sum or none.

    Inputs: pred (N, C) cosines; target (N,) class index.
    Returns: A value a sample (N,), or the reduced scalar.
    Reference: Cao et al. 2019, https://arxiv.org/abs/1906.07413
    """

    weight: Tensor | None
    """One weight a class, or none."""

    def __init__(self, spec: pb.Ldam) -> None:
        """Make the loss of a filled message.

        Raises:
            ValueError: There are no class counts.
        """
        super().__init__(reduction_of(spec))
        self.max_margin = spec.max_margin
        self.scale = spec.scale
        counts = _counts_tensor(spec.class_counts)
        self.register_buffer("class_counts", counts, persistent=False)
        self.register_buffer("weight", weights_tensor(spec, "weight"), persistent=False)

    def _take(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        pred, target = super()._take(inputs)
        checks.require_dimensions("pred", pred, "(N, C)")
        if self.weight is not None:
            checks.require_one_a_class("weight", self.weight, pred)
            pred = _safe.keep(pred, (self.weight > 0)[target])
        return pred, target

    def _values(self, pred: Tensor, target: Tensor) -> Tensor:
        return functional.ldam(
            pred,
            target,
            self.class_counts,
            max_margin=self.max_margin,
            scale=self.scale,
            weight=None if self.weight is None else self.weight.to(pred),
        )

    def divisor(self, target: Tensor) -> Tensor | None:
        """Return the targets' weights, where there are any; see `LossModule.divisor`."""
        if self.weight is None:
            return None
        weight = self.weight[target].sum()
        return weight.where(weight > 0, 1)

    def _weight(self, *tensors: Tensor) -> float | Tensor:
        if self.weight is None:
            return super()._weight(*tensors)
        return self.weight[tensors[1]].sum()

    def _mean(self, values: Tensor, *tensors: Tensor) -> Tensor:
        divisor = self.divisor(tensors[1])
        if divisor is None:
            return super()._mean(values)
        return values.sum() / divisor.to(values)


BUILDERS: dict[str, type[LossModule]] = {
    "logit_adjusted": LogitAdjusted,
    "ldam": Ldam,
}
"""The losses of this family."""
