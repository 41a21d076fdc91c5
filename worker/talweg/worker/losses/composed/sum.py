"""A weighted sum of losses over the same outputs."""

from collections.abc import Mapping

from torch import Tensor, nn

from talweg.worker.losses import checks
from talweg.worker.losses.base import Factors, LossModule, Part
from talweg.worker.losses.functional import _safe


class Sum(LossModule):
    """Weighted sum of losses over the same outputs.

    L = Σ_i weight_i L_i, each term reduced in its own way

    Args:
        terms: The terms. A job has at most 100 losses in all, those of sums within sums included;
            1 to 20 of them.

    Inputs: the union of those of its terms, such as pred (N, …); target (N, …).
    Returns: A scalar, or the terms' unreduced shape where all have one.
    Reference: Zadeh 1963 (scalarisation), https://doi.org/10.1109/TAC.1963.1105511
    """

    def __init__(self, terms: list[LossModule], weights: list[float]) -> None:
        """Make the sum.

        Args:
            terms: The losses.
            weights: A factor a loss.
        """
        assert len(terms) == len(weights)
        super().__init__("terms")
        self.terms = nn.ModuleList(terms)
        self.pools_batch = any(term.pools_batch for term in terms)
        self.weights = tuple(weights)
        required = [name for term in terms for name in term.input_names]
        optional = [name for term in terms for name in term.optional_names]
        self.input_names = tuple(dict.fromkeys(required))
        self.optional_names = tuple(n for n in dict.fromkeys(optional) if n not in required)

    def forward(self, inputs: Mapping[str, Tensor], factors: Factors = ()) -> Tensor:
        """Return the weighted sum; see `LossModule.forward`.

        Args:
            inputs: Of all terms.
            factors: What each of `summands` is multiplied by; none where that is 1.
        """
        return self._weigh(self.term_values(inputs, factors), inputs)

    @property
    def summands(self) -> tuple[LossModule, ...]:
        """The terms, and those of terms that are sums."""
        return tuple(summand for own in self._summands() for summand in own)

    def values(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the weighted sum of the terms' unreduced values, which must agree in shape.

        Raises:
            ValueError: An input is wrong, or the terms' shapes differ.
        """
        self._require_names(inputs)
        values = [term.values(share) for term, share in self._share_out(inputs)]
        return self._weigh(values, inputs)

    def parts(self, inputs: Mapping[str, Tensor]) -> list[Part]:
        """Return the parts of all terms; see `LossModule.parts`."""
        self._require_names(inputs)
        return [
            part._replace(factor=weight * part.factor)
            for weight, (term, share) in zip(self.weights, self._share_out(inputs), strict=True)
            for part in term.parts(share)
        ]

    def term_values(self, inputs: Mapping[str, Tensor], factors: Factors = ()) -> list[Tensor]:
        """Return each term's loss before its weight, in the order of the terms.

        Args:
            inputs: Of all terms.
            factors: As `forward` takes them.

        Raises:
            ValueError: An input is wrong.
        """
        self._require_names(inputs)
        shares = self._share_out(inputs)
        if not factors:
            return [term(share) for term, share in shares]
        values, left = [], iter(factors)
        for (term, share), own in zip(shares, self._summands(), strict=True):
            factor, *others = (next(left) for _ in own)
            values.append(
                term(share, [factor, *others]) if term.summands else term(share) * factor
            )
        return values

    def _summands(self) -> list[tuple[LossModule, ...]]:
        """Return the summands of each term, which it is itself where it has none."""
        terms = [term for term in self.terms if isinstance(term, LossModule)]
        return [term.summands or (term,) for term in terms]

    def check_inputs(self, inputs: Mapping[str, Tensor]) -> None:
        """Let every term check its inputs; see `LossModule.check_inputs`."""
        self._require_names(inputs)
        for term, share in self._share_out(inputs):
            term.check_inputs(share)

    def check_values(self, inputs: Mapping[str, Tensor]) -> None:
        """Let every term check its inputs; see `LossModule.check_values`."""
        for term, share in self._share_out(inputs):
            term.check_values(share)

    def _require_names(self, inputs: Mapping[str, Tensor]) -> None:
        checks.require_names(inputs, self.input_names, self.optional_names)

    def _share_out(
        self, inputs: Mapping[str, Tensor]
    ) -> list[tuple[LossModule, dict[str, Tensor]]]:
        shares = []
        for term in self.terms:
            assert isinstance(term, LossModule)
            names = (*term.input_names, *term.optional_names)
            shares.append((term, {name: inputs[name] for name in names if name in inputs}))
        return shares

    def _weigh(self, values: list[Tensor], inputs: Mapping[str, Tensor]) -> Tensor:
        shapes = [tuple(value.shape) for value in values]
        if len(set(shapes)) > 1:
            raise ValueError(f"the terms of a sum must have one shape, but got {shapes}")
        return _safe.weighed_sum(self.weights, values, *inputs.values(), *self.parameters())
