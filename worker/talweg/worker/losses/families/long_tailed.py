"""Losses that know how often each class is seen: logits or cosines against class indices.

n_c is how often class c stands in the training data.
"""

from collections.abc import Iterable, Mapping

from torch import Tensor
from torch.nn import functional as F

from talweg.v1 import losses_pb2 as pb
from talweg.worker.losses import checks
from talweg.worker.losses.base import Classes, LossModule, floats, reduction_of, weights_tensor
from talweg.worker.losses.functional import classification as functional


def _counts_tensor(counts: Iterable[float]) -> Tensor:
    tensor = floats(counts)
    if tensor is None:
        raise ValueError(
            "class_counts must have one value a class where there is no training split to count "
            "the classes in, but got none"
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
    """CE(z + tau log(n / Σ n)) in training mode, CE(z) in evaluation mode. Menon et al. 2021.

    pred logits z (N, C, …), target (N, …).
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
    """w_y CE(scale (z - m_y onehot)), m_j = max_margin n_j^-¼ / max n^-¼. Cao et al. 2019.

    pred cosines z (N, C), target (N,). The mean divides by the sum of the targets' weights.
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
