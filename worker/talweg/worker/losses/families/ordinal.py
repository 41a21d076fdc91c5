"""Losses of ranks: K-1 logits pred (N, K-1) against ranks target (N,), 0 to K-1."""

from collections.abc import Mapping

from google.protobuf.message import Message
from torch import Tensor

from talweg.worker.losses import checks
from talweg.worker.losses.base import LossModule, reduction_of, take_logits
from talweg.worker.losses.functional import classification as functional


class _Ranks(LossModule):
    """A loss of ranks, a value a sample."""

    def __init__(self, spec: Message) -> None:
        """Make the loss of a filled message."""
        super().__init__(reduction_of(spec))

    def check_values(self, inputs: Mapping[str, Tensor]) -> None:
        """Refuse ranks out of range; without pred their number is not known."""
        if "target" in inputs and "pred" in inputs:
            ranks = take_logits(inputs["pred"]).shape[1] + 1
            checks.require_classes("target", inputs["target"], ranks, what="rank")

    def _take(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        checks.require_names(inputs, self.input_names)
        pred, target = take_logits(inputs["pred"]), inputs["target"]
        checks.require_dimensions("pred", pred, "(N, K-1)")
        checks.require_shape("target", target, pred.shape[:1], "one rank per row of pred")
        checks.require_integers("target", target, ": it takes ranks")
        return pred, target.long()


class Coral(_Ranks):
    """CORAL: K-1 binary decisions of rank > k.

    L = Σ_k BCE(z_k, [target > k]), with z = pred

    Args:
        reduction: mean (default), sum or none.

    Inputs: pred (N, K-1) logits of rank > k; target (N,) rank from 0.
    Returns: A value a sample (N,), or the reduced scalar.
    Reference: Cao, Mirjalili and Raschka 2020, https://arxiv.org/abs/1901.07884
    """

    def _values(self, pred: Tensor, target: Tensor) -> Tensor:
        return functional.coral(pred, target)


class Corn(_Ranks):
    """CORN: K-1 binary decisions of rank > k given rank ≥ k.

    L = Σ_k≤target BCE(z_k, [target > k]), with z = pred

    The mean divides by the number of all levels that the samples take part in.

    Args:
        reduction: mean (default), sum or none.

    Inputs: pred (N, K-1) logits of rank > k given rank ≥ k; target (N,) rank from 0.
    Returns: A value a sample (N,), or the reduced scalar.
    Reference: Shi, Cao and Raschka 2021, https://arxiv.org/abs/2111.08851
    """

    def _values(self, pred: Tensor, target: Tensor) -> Tensor:
        return functional.corn(pred, target)[0]

    def divisor(self, target: Tensor) -> Tensor | None:
        """Return the levels that the targets take part in; see `LossModule.divisor`."""
        return None if self.num_classes is None else _levels(target, self.num_classes - 1)

    def _mean(self, values: Tensor, *tensors: Tensor) -> Tensor:
        return values.sum() / self._weight(*tensors).clamp(min=1)

    def _weight(self, *tensors: Tensor) -> Tensor:
        pred, target = tensors
        return _levels(target, pred.shape[1])


def _levels(target: Tensor, most: int) -> Tensor:
    """Return how many levels ranks take part in together, each up to its own."""
    return (target + 1).clamp(max=most).sum()


BUILDERS: dict[str, type[LossModule]] = {"coral": Coral, "corn": Corn}
"""The losses of this family."""
