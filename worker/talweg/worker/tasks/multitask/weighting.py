"""What the losses of several heads count: fixed, by their uncertainty, or by their gradients."""

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from talweg.spec import kind
from talweg.v1.losses_pb2 import Loss, Uncertainty
from talweg.worker import losses
from talweg.worker.losses import LossModule

# A weight never falls to 0, from where no gradient of its loss would bring it back.
_LEAST_WEIGHT = 1e-4
# What rounding makes of a loss of 0 is above it.
_LEAST_LOSS = -1e-5


class Weighing(LossModule):
    """One loss of several heads' losses (K,), with the weights that it gives them."""

    input_names = ("losses",)
    below_zero: ClassVar[str] = ""
    """What becomes of weights that go by a loss below 0; empty where they do not go by losses."""

    def __init__(self, heads: Sequence[LossModule]) -> None:
        """Take the heads' own losses, so that they are moved and trained with it."""
        super().__init__("mean")
        self.heads = nn.ModuleList(heads)

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the loss by the weights as they are."""
        return (self.weights.to(inputs["losses"]) * inputs["losses"]).sum()

    def in_training(self, each: Sequence[Tensor], shared: nn.Parameter) -> Tensor:
        """Return the loss by which training goes.

        Args:
            each: The heads' losses, joined to the graph.
            shared: The weights of the last layer that the heads share.

        Returns:
            A scalar; NaN, which the guard refuses, where weights would go by a loss below 0.
        """
        losses = torch.stack(list(each))
        total = self._weighed(losses, each, shared)
        if not self.below_zero:
            return total
        # On the device, so that nobody waits for it.
        return total.masked_fill((losses.detach() < _LEAST_LOSS).any(), math.nan)

    def _weighed(self, losses: Tensor, each: Sequence[Tensor], shared: nn.Parameter) -> Tensor:
        return self({"losses": losses})

    @property
    def weights(self) -> Tensor:
        """What each head's loss is multiplied by (K,), without gradient."""
        raise NotImplementedError

    def updated(self) -> None:
        """Follow each update."""


class Fixed(Weighing):
    """The weights of a sum."""

    fixed: Tensor

    def __init__(self, heads: Sequence[LossModule], weights: Sequence[float]) -> None:
        """Take a weight a head."""
        super().__init__(heads)
        self.register_buffer("fixed", torch.tensor(list(weights)), persistent=False)

    @property
    def weights(self) -> Tensor:
        """The weights of the spec."""
        return self.fixed


class ByUncertainty(Weighing):
    """Learned log variances; see `losses.functional.multitask.uncertainty`."""

    below_zero = "uncertainty weighting would raise its weight without bound"

    def __init__(self, heads: Sequence[LossModule], loss: Loss) -> None:
        """Take a filled loss."""
        super().__init__(heads)
        spec = loss.uncertainty
        self.loss = losses.build(loss)
        start = list(spec.initial_log_vars) or [0.0] * len(heads)
        self.log_vars = nn.Parameter(torch.tensor(start))
        self._kendall = spec.variant == Uncertainty.kendall
        self._halved = [task == Uncertainty.regression for task in spec.task_types]

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the loss, whose gradient reaches the log variances."""
        return self.loss({"losses": inputs["losses"], "log_vars": self.log_vars})

    @property
    def weights(self) -> Tensor:
        """e^-s, halved for what is a regression."""
        weights = torch.exp(-self.log_vars.detach().clamp(-20, 20))
        if not self._kendall:
            return weights
        return weights * weights.new_tensor([0.5 if halved else 1.0 for halved in self._halved])


class ByGradNorm(Weighing):
    """Weights that are learnt until all heads learn at a like pace. Chen et al. 2018."""

    below_zero = "gradnorm weighs a head by the share of its first loss that is left"
    initial_losses: Tensor

    def __init__(self, heads: Sequence[LossModule], loss: Loss) -> None:
        """Take a filled loss."""
        super().__init__(heads)
        self.loss = losses.build(loss)
        self.learnt = nn.Parameter(torch.ones(len(heads)))
        # Zeros until the first step.
        self.register_buffer("initial_losses", torch.zeros(len(heads)))

    def _weighed(self, losses: Tensor, each: Sequence[Tensor], shared: nn.Parameter) -> Tensor:
        """Return the weighted losses, and beside them what the weights learn by."""
        current = torch.stack([loss.detach() for loss in each]).float()
        # Which of the two it is no host needs to know: a GPU would be waited for.
        is_known = self.initial_losses.any()
        self.initial_losses.copy_(torch.where(is_known, self.initial_losses, current))
        norms = torch.stack([_gradient_norm(loss, shared) for loss in each])
        weighing = self.loss(
            {
                "weights": self.learnt,
                "grad_norms": norms,
                "losses": current,
                "initial_losses": self.initial_losses,
            }
        )
        weighted = self({"losses": losses})
        # The weights learn by their own loss alone, which is none of the heads': its value is
        # taken off again.
        return weighted + weighing - weighing.detach()

    @property
    def weights(self) -> Tensor:
        """The weights as they stand."""
        return self.learnt.detach()

    def updated(self) -> None:
        """Scale the weights so that they sum to their number again."""
        with torch.no_grad():
            self.learnt.clamp_(min=_LEAST_WEIGHT)
            self.learnt.mul_(len(self.learnt) / self.learnt.sum())


def _gradient_norm(loss: Tensor, weights: nn.Parameter) -> Tensor:
    (gradient,) = torch.autograd.grad(loss, weights, retain_graph=True, allow_unused=True)
    if gradient is None:
        return weights.new_zeros(())
    norm: Tensor = torch.linalg.vector_norm(gradient)
    return norm


def is_below_zero(loss: float) -> bool:
    """Return whether a loss is below 0 by more than rounding."""
    return loss < _LEAST_LOSS


def weighing_of(loss: Loss, heads: Sequence[LossModule]) -> Weighing:
    """Build what weighs the losses of heads, of a filled loss."""
    name, _ = kind(loss)
    if name == "uncertainty":
        return ByUncertainty(heads, loss)
    if name == "gradnorm":
        return ByGradNorm(heads, loss)
    return Fixed(heads, [term.weight for term in loss.sum.terms])


def last_shared(model: nn.Module) -> nn.Parameter:
    """Return the weights of the last layer that all heads of a model share.

    Of the last one that is trained, unless all are frozen.
    """
    trunk = model.get_submodule("trunk")
    shared = [weights for weights in trunk.parameters() if weights.dim() > 1]
    return ([weights for weights in shared if weights.requires_grad] or shared)[-1]
