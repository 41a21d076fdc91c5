"""Self-supervised losses without negatives; they pool the batch. z1 and z2 (N, D)."""

from collections.abc import Mapping

from torch import Tensor

from talweg.v1 import losses_pb2 as pb
from talweg.worker.losses import checks
from talweg.worker.losses.base import LossModule, reduction_of
from talweg.worker.losses.embedding_base import Single, take_alike
from talweg.worker.losses.functional.embedding import redundancy


class VicReg(Single):
    """VICReg: views agree, each dimension varies, and none repeats another.

    L = sim MSE(z1, z2) + std (v1 + v2)/2 + cov (c1 + c2)

    v = mean max(0, 1 - sqrt(var + eps)) and c = Σ off-diagonal covariance² / D, both unbiased.

    Args:
        sim: Weight of the views' agreement; ≥ 0, default 25.
        std: Weight of the variance in each dimension; ≥ 0, default 25.
        cov: Weight of the covariance between dimensions; ≥ 0, default 1.
        eps: Added to the variance; > 0, default 0.0001.
        reduction: mean (default) or sum, which are the same.

    Inputs: z1 (N, D); z2 (N, D).
    Returns: A scalar: the formula gives one number a batch.
    Reference: Bardes et al. 2022, https://arxiv.org/abs/2105.04906
    """

    input_names = ("z1", "z2")

    def __init__(self, spec: pb.VicReg) -> None:
        """Make the loss of a filled message."""
        super().__init__(reduction_of(spec))
        self.weights = {"sim": spec.sim, "std": spec.std, "cov": spec.cov}
        self.eps = spec.eps

    def _take(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        checks.require_names(inputs, self.input_names)
        return take_alike(inputs, self.input_names)

    def _pooled(self, z1: Tensor, z2: Tensor) -> Tensor:
        return redundancy.vicreg(z1, z2, **self.weights, eps=self.eps)


class BarlowTwins(Single):
    """Barlow Twins: the correlation of two views is to be the identity.

    L = Σ (diagonal - 1)² + λ Σ off-diagonal²

    The correlation is of biased variances, raised by eps. N must not be 1.

    Args:
        lambda_offdiag: Weight λ of what is off the diagonal; ≥ 0, default 0.005.
        eps: Added to the variance; > 0, default 1e-5.
        reduction: mean (default) or sum, which are the same.

    Inputs: z1 (N, D); z2 (N, D).
    Returns: A scalar: the formula gives one number a batch.
    Reference: Zbontar et al. 2021, https://arxiv.org/abs/2103.03230
    """

    input_names = ("z1", "z2")

    def __init__(self, spec: pb.BarlowTwins) -> None:
        """Make the loss of a filled message."""
        super().__init__(reduction_of(spec))
        self.lambda_offdiag = spec.lambda_offdiag
        self.eps = spec.eps

    def _take(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        checks.require_names(inputs, self.input_names)
        views = take_alike(inputs, self.input_names)
        if len(views[0]) == 1:
            raise ValueError("z1 and z2 must hold at least 2 samples to correlate, but got 1")
        return views

    def _pooled(self, z1: Tensor, z2: Tensor) -> Tensor:
        return redundancy.barlow_twins(z1, z2, lambda_offdiag=self.lambda_offdiag, eps=self.eps)


BUILDERS: dict[str, type[LossModule]] = {"vicreg": VicReg, "barlow_twins": BarlowTwins}
"""The losses of this family."""
