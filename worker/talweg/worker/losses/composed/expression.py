"""A formula of the user's own."""

from collections.abc import Mapping

import torch
from torch import Tensor

from talweg.spec import formulas
from talweg.spec.formulas import Operation, Term
from talweg.v1 import losses_pb2 as pb
from talweg.worker.errors import UserSpecError
from talweg.worker.losses.base import Elementwise, reduction_of
from talweg.worker.losses.composed.formula import compiled
from talweg.worker.losses.composed.user_defined import OwnLoss

_HINT = (
    "keep what exp, log, sqrt, / and ** take within their range, by clamp or a small number; "
    "where() takes the gradient of the branch not chosen too"
)


class Expression(OwnLoss, Elementwise):
    """Formula of the user's own over pred and target.

    L = formula(pred, target)

    A result of pred's shape, or with 1 in the place of some of its dimensions after the first, is
    reduced; a single value stays as it is under every reduction.

    Args:
        formula: Arithmetic over pred, target, the parameters and the functions that docs/losses.md
            lists. Gives a value for each sample, which the reduction makes one, or one value.
        params: Numbers by the names under which the formula uses them; at most 50.
        reduction: mean (default), sum or none.

    Inputs: pred (N, …); target (N, …).
    Returns: The formula's value, or the reduced scalar.
    Reference: docs/losses.md
    """

    field = "expression.formula"

    def __init__(self, spec: pb.Expression) -> None:
        """Make the loss of a filled message, within its bounds."""
        super().__init__(reduction_of(spec))
        self._term = formulas.parse(spec.formula, spec.params)
        self._formula = compiled(self._term)

    def dry_run(self, inputs: Mapping[str, Tensor]) -> None:
        """See `OwnLoss.dry_run`; where all predictions are right, too."""
        super().dry_run(inputs)
        super().dry_run({**inputs, "pred": inputs["target"].to(inputs["pred"].dtype)})

    def _values(self, pred: Tensor, target: Tensor) -> Tensor:
        if not pred.numel():
            # The mean of nothing is NaN, and there is no largest of it.
            return pred * 0
        return self._checked(self._formula(pred, target), pred)

    def _checked(self, values: Tensor, pred: Tensor) -> Tensor:
        self._require_shape(values, pred)
        if values.dim() not in (0, pred.dim()):
            raise UserSpecError(
                f"the loss must have pred's dimensions or none, but for pred of shape "
                f"{tuple(pred.shape)} it has shape {tuple(values.shape)}"
            )
        return values

    def _fault(self, what: str, found: Tensor, inputs: Mapping[str, Tensor]) -> str:
        place = self._culprit(what, inputs)
        where = f", from '{place.name}' at column {place.column}" if place else ""
        return f"{super()._fault(what, found, inputs)}{where}; {_HINT}"

    def _culprit(self, what: str, inputs: Mapping[str, Tensor]) -> Operation | None:
        """Find the operation by which the first number that is not finite came about."""
        results: dict[int, tuple[Term, Tensor]] = {}

        def watch(term: Term, result: Tensor) -> None:
            if result.requires_grad:
                result.retain_grad()
            results[id(term)] = term, result

        pred, target = self._take(inputs)
        with torch.enable_grad():
            pred = pred.detach().clone().requires_grad_()
            values = compiled(self._term, watch)(pred, target)
            if what == "gradient":
                values.sum().backward()  # type: ignore[no-untyped-call]
        in_order = list(results.values()) if what == "value" else reversed(results.values())
        for term, result in in_order:
            if isinstance(term, Operation):
                parts = [results[id(part)][1] for part in term.terms if id(part) in results]
                came_in, went_out = [result], parts
                if what == "value":
                    came_in, went_out = parts, [result]
                if _finite(what, came_in) and not _finite(what, went_out):
                    return term
        return None


def _finite(what: str, tensors: list[Tensor]) -> bool:
    numbers = [tensor.grad if what == "gradient" else tensor for tensor in tensors]
    return all(bool(torch.isfinite(each).all()) for each in numbers if each is not None)
