"""What stands between a model's outputs and a loss: an activation, a head, an order of outputs.

Each is a loss itself, of pred as the model gives it and of target.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from talweg.worker.losses import LossModule, Part
from talweg.worker.losses.functional.embedding import margins
from talweg.worker.losses.functional.regression import positive

# A logarithm beyond these is held, with the slope that it has there: its exponential, and the
# squares of that and of its inverse, by which gradients grow, stay in float32.
_LEAST_LOG, _LARGEST_LOG = -40.0, 60.0


class Head(LossModule):
    """A loss whose inputs are made of what the model gives."""

    input_names: tuple[str, ...] = ("pred", "target")

    def __init__(self, inner: LossModule) -> None:
        """Stand before a loss."""
        super().__init__(inner.reduction)
        self.inner = inner
        self.pools_batch = inner.pools_batch

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the reduced loss; see `LossModule.forward`."""
        loss: Tensor = self.inner(self._changed(inputs))
        return loss

    def parts(self, inputs: Mapping[str, Tensor]) -> list[Part]:
        """Return the loss's parts; see `LossModule.parts`."""
        return self.inner.parts(self._changed(inputs))

    def values(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the unreduced loss; see `LossModule.values`."""
        return self.inner.values(self._changed(inputs))

    def check_inputs(self, inputs: Mapping[str, Tensor]) -> None:
        """Refuse wrong names, shapes and dtypes; see `LossModule.check_inputs`."""
        self.inner.check_inputs(self._changed(inputs))

    def check_values(self, inputs: Mapping[str, Tensor]) -> None:
        """Refuse wrong numbers; see `LossModule.check_values`."""
        self.inner.check_values(self._changed(inputs))

    def divisor(self, target: Tensor) -> Tensor | None:
        """Return what the loss's mean divides by; see `LossModule.divisor`."""
        return self.inner.divisor(target)

    def _changed(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        if "pred" not in inputs:
            return inputs
        rest = {name: tensor for name, tensor in inputs.items() if name != "pred"}
        return {**rest, **self._inputs(inputs["pred"])}

    def _inputs(self, pred: Tensor) -> dict[str, Tensor]:
        """Return the loss's inputs that come from the model's outputs."""
        raise NotImplementedError


class AfterSigmoid(Head):
    """A loss of probabilities over a model that gives logits."""

    def _inputs(self, pred: Tensor) -> dict[str, Tensor]:
        return {"pred": torch.sigmoid(pred)}


class AfterExp(Head):
    """A loss of numbers above 0 over a model that gives their logarithms."""

    def _inputs(self, pred: Tensor) -> dict[str, Tensor]:
        bounded = pred.clamp(_LEAST_LOG, _LARGEST_LOG).detach() + (pred - pred.detach())
        return {"pred": torch.exp(bounded)}


class ByQuantile(Head):
    """A loss of pred (N, K, Q) over a model that gives (N, K·Q): a target's quantiles together."""

    def __init__(self, inner: LossModule, num_quantiles: int) -> None:
        """Stand before a loss of so many quantiles."""
        super().__init__(inner)
        self._num_quantiles = num_quantiles

    def _inputs(self, pred: Tensor) -> dict[str, Tensor]:
        return {"pred": pred.reshape(*pred.shape[:-1], -1, self._num_quantiles)}


class ByPixel(Head):
    """A loss that takes classes in the last dimension, over outputs and targets (N, C, H, W)."""

    def _changed(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return {name: tensor.movedim(1, -1) for name, tensor in inputs.items()}


class MeanAndVariance(Head):
    """A loss of mean and variance over a model that gives (N, 2K): a target's two together.

    softplus turns the second into the variance.
    """

    def _inputs(self, pred: Tensor) -> dict[str, Tensor]:
        mean, before_softplus = pred.reshape(*pred.shape[:-1], -1, 2).unbind(-1)
        return {"pred": mean, "var": positive(before_softplus)}


class NormalInverseGamma(Head):
    """A loss of a normal-inverse-gamma distribution over a model that gives (N, 4K).

    A target's four outputs stand together: the mean γ, and what softplus turns into ν, α - 1, β.
    """

    def _inputs(self, pred: Tensor) -> dict[str, Tensor]:
        mean, *raw = pred.reshape(*pred.shape[:-1], -1, 4).unbind(-1)
        nu, excess, beta = map(positive, raw)
        return {"pred": mean, "nu": nu, "alpha": 1 + excess, "beta": beta}


def cosine_head(criterion: LossModule) -> "ByCosine | None":
    """Return the head of a criterion, or a sum of them, by which embeddings become logits."""
    return next((part for part in criterion.modules() if isinstance(part, ByCosine)), None)


class ByCosine(Head):
    """A loss of the cosines between the model's vectors and one learned vector a class."""

    class_weight: nn.Parameter
    """The vectors (C, D), of which the direction alone counts."""

    def __init__(
        self,
        inner: LossModule,
        *,
        num_classes: int,
        embedding_size: int,
        scale: float,
        takes_cosines: bool,
        seed: int,
    ) -> None:
        """Draw the first vectors.

        Args:
            inner: The loss.
            num_classes: Number of classes C.
            embedding_size: Length D of the vectors.
            scale: What the cosines are multiplied by to be logits.
            takes_cosines: The loss takes cosines and class indices; else embeddings, class_weight
                and labels.
            seed: Decides the vectors.
        """
        super().__init__(inner)
        self.scale = scale
        self._takes_cosines = takes_cosines
        drawn = torch.randn(
            num_classes, embedding_size, generator=torch.Generator().manual_seed(seed)
        )
        self.class_weight = nn.Parameter(F.normalize(drawn, dim=1))

    def logits(self, embeddings: Tensor) -> Tensor:
        """Return the logits (N, C) of embeddings (N, D), without the margins of training."""
        return self.scale * self._cosines(embeddings)

    def _cosines(self, embeddings: Tensor) -> Tensor:
        return margins.cosines(embeddings, self.class_weight.to(embeddings.dtype))

    def _inputs(self, pred: Tensor) -> dict[str, Tensor]:
        if self._takes_cosines:
            return {"pred": self._cosines(pred)}
        return {"embeddings": pred, "class_weight": self.class_weight}

    def _changed(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        changed = dict(super()._changed(inputs))
        if not self._takes_cosines and "target" in changed:
            changed["labels"] = changed.pop("target")
        return changed
