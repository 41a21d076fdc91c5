"""Losses of the user's own making, which may be wrong in any way that torch allows."""

from collections.abc import Mapping

import torch
from torch import Tensor

from talweg.worker.errors import UserSpecError
from talweg.worker.losses.base import LossModule


class OwnLoss(LossModule):
    """A loss that came with the job or with a plug-in.

    It gives a value for each sample, which the reduction makes one, or one value for all, which
    stays what it is.
    """

    field: str
    """Where the fault is if it goes wrong, below the message `Loss`."""

    def dry_run(self, inputs: Mapping[str, Tensor]) -> None:
        """Compute value and gradient on samples, and refuse what training would stumble over.

        Args:
            inputs: Some samples, pred among them.

        Raises:
            UserSpecError: The result is neither one value a sample nor one for all, or value or
                gradient are not finite, or there is no gradient.
            ValueError: An input is wrong.
        """
        pred = inputs["pred"].detach().clone().requires_grad_()
        with torch.enable_grad():
            values = self.values({**inputs, "pred": pred})
            if not torch.isfinite(values).all():
                raise UserSpecError(self._fault("value", values.detach(), inputs))
            if not values.requires_grad:
                raise UserSpecError(
                    "the loss has no gradient: it does not depend differentiably on pred"
                )
            (slope,) = torch.autograd.grad(values.sum(), pred, allow_unused=True)
        if slope is None:
            raise UserSpecError(
                "the loss has no gradient: it does not depend differentiably on pred"
            )
        if not torch.isfinite(slope).all():
            raise UserSpecError(self._fault("gradient", slope, inputs))

    def _fault(self, what: str, found: Tensor, inputs: Mapping[str, Tensor]) -> str:
        """Say which number is not finite, and at which inputs where it is theirs alone."""
        index = (~torch.isfinite(found)).nonzero()[0].tolist() if found.dim() else []
        number = found[tuple(index)].item()
        text = f"the {what} of the loss is {number:g}"
        pred = inputs["pred"]
        if found.shape != pred.shape:
            return f"{text}{f' for sample {index[0]}' if index else ''}"
        at = [
            f"{name} = {tensor[tuple(index)].item():.6g}"
            for name, tensor in inputs.items()
            if tensor.shape == pred.shape
        ]
        return f"{text} at {', '.join(at)}"

    def _require_shape(self, values: Tensor, first: Tensor) -> None:
        """Refuse a result that is neither a value a sample of the first input nor one value.

        Raises:
            UserSpecError: Naming both shapes.
        """
        if not values.is_floating_point():
            raise UserSpecError(f"the loss must be floating point, but is {values.dtype}")
        if values.dim() and values.shape[:1] != first.shape[:1]:
            raise UserSpecError(
                "the loss must be one value per sample or one value, but for "
                f"{self.input_names[0]} of shape {tuple(first.shape)} it has shape "
                f"{tuple(values.shape)}"
            )

    def _reduce(self, values: Tensor, *tensors: Tensor) -> Tensor:
        return super()._reduce(values, *tensors) if values.dim() else values
