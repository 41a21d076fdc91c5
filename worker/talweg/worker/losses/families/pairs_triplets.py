"""Losses of pairs and triplets of vectors: given ones, a value each, and those within a batch."""

from collections.abc import Mapping
from typing import cast

from torch import Tensor

from talweg.v1 import losses_pb2 as pb
from talweg.worker.losses import checks
from talweg.worker.losses.base import LossModule, reduction_of
from talweg.worker.losses.embedding_base import Pooled, choice_of, take_alike, take_labelled
from talweg.worker.losses.functional import mining, pairs


class _Judged(LossModule):
    """Pairs, and one of two numbers that says of each how it should be."""

    _dimensions = "(N, D)"
    _answers: tuple[int, int] = (1, -1)

    def check_values(self, inputs: Mapping[str, Tensor]) -> None:
        """Refuse other answers than the two; see `LossModule.check_values`."""
        name = self.input_names[2]
        if name in inputs:
            checks.require_one_of(name, inputs[name], self._answers)

    def _take(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        checks.require_names(inputs, self.input_names)
        first, second, name = self.input_names
        one, other = take_alike(inputs, (first, second), self._dimensions)
        answer = inputs[name]
        shape = one.shape[:1] if self._dimensions else one.shape
        checks.require_shape(name, answer, shape, "one value a pair")
        if answer.is_complex():
            checks.require_floats(name, answer)
        return one, other, answer.detach()


class Contrastive(_Judged):
    """(y d² + (1-y) max(0, margin - d)²) / 2, d = |a-b|. Hadsell et al. 2006.

    emb1 a and emb2 b (N, D), similar y (N,): 1 where the two belong together, else 0.
    """

    input_names = ("emb1", "emb2", "similar")
    _answers = (0, 1)

    def __init__(self, spec: pb.Contrastive) -> None:
        """Make the loss of a filled message."""
        super().__init__(reduction_of(spec))
        self.margin = spec.margin

    def _values(self, emb1: Tensor, emb2: Tensor, similar: Tensor) -> Tensor:
        return pairs.contrastive(emb1, emb2, similar, margin=self.margin)


class CosineEmbedding(_Judged):
    """1 - cos where sign is 1, max(0, cos - margin) where it is -1; as torch has it.

    emb1 and emb2 (N, D), sign (N,).
    """

    input_names = ("emb1", "emb2", "sign")

    def __init__(self, spec: pb.CosineEmbedding) -> None:
        """Make the loss of a filled message."""
        super().__init__(reduction_of(spec))
        self.margin = spec.margin

    def _values(self, emb1: Tensor, emb2: Tensor, sign: Tensor) -> Tensor:
        return pairs.cosine_embedding(emb1, emb2, sign, margin=self.margin)


class MarginRanking(_Judged):
    """max(0, -sign (x1 - x2) + margin); as torch has it. x1, x2 and sign (N, …)."""

    input_names = ("x1", "x2", "sign")
    _dimensions = ""

    def __init__(self, spec: pb.MarginRanking) -> None:
        """Make the loss of a filled message."""
        super().__init__(reduction_of(spec))
        self.margin = spec.margin

    def _values(self, x1: Tensor, x2: Tensor, sign: Tensor) -> Tensor:
        return pairs.margin_ranking(x1, x2, sign.to(x1), margin=self.margin)


class NegativeCosine(LossModule):
    """-cos, with no gradient for emb2. emb1 and emb2 (N, D). Chen and He 2021 (SimSiam)."""

    input_names = ("emb1", "emb2")

    def __init__(self, spec: pb.NegativeCosine) -> None:
        """Make the loss of a filled message."""
        super().__init__(reduction_of(spec))

    def _take(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        checks.require_names(inputs, self.input_names)
        return take_alike(inputs, self.input_names)

    def _values(self, emb1: Tensor, emb2: Tensor) -> Tensor:
        return pairs.negative_cosine(emb1, emb2)


class Triplet(LossModule):
    """max(0, d(a,p) - d(a,n) + margin). anchor a, positive p and negative n (N, D).

    With swap d(a,n) is the smaller of d(a,n) and d(p,n). Schroff et al. 2015, Balntas et al. 2016.
    """

    input_names = ("anchor", "positive", "negative")

    def __init__(self, spec: pb.Triplet) -> None:
        """Make the loss of a filled message."""
        super().__init__(reduction_of(spec))
        self.margin = spec.margin
        self.distance = cast(pairs.Distance, choice_of(spec, "distance"))
        self.swap = spec.swap

    def _take(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        checks.require_names(inputs, self.input_names)
        return take_alike(inputs, self.input_names)

    def _values(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        return pairs.triplet(
            anchor,
            positive,
            negative,
            margin=self.margin,
            kind=self.distance,
            swap=self.swap,
        )


class OnlineTriplet(Pooled):
    """max(0, d(a,p) - d(a,n) + margin) over triplets of the batch. Hermans et al. 2017.

    embeddings (N, D), labels (N,). hard takes each anchor's farthest positive and nearest
    negative, semihard every triplet with d(a,p) < d(a,n) < d(a,p) + margin, all every one, of
    which the mean counts those above 0 or all. The soft margin is log(1 + e^(d(a,p) - d(a,n))).
    """

    input_names = ("embeddings", "labels")

    def __init__(self, spec: pb.OnlineTriplet) -> None:
        """Make the loss of a filled message."""
        super().__init__(reduction_of(spec))
        self.strategy = cast(mining.Strategy, choice_of(spec, "strategy"))
        self.margin = spec.margin
        self.distance = cast(pairs.Distance, choice_of(spec, "distance"))
        self.normalize = spec.normalize
        self.soft_margin = spec.soft_margin
        self.nonzero = choice_of(spec, "average") == "nonzero"

    def _take(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        checks.require_names(inputs, self.input_names)
        return take_labelled(inputs)

    def _pooled(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        found = mining.online_triplet(
            embeddings,
            labels,
            strategy=self.strategy,
            margin=self.margin,
            kind=self.distance,
            normalize=self.normalize,
            soft_margin=self.soft_margin,
            nonzero=self.nonzero,
        )
        return found.total if self.reduction == "sum" else found.total / found.number.clamp(min=1)


BUILDERS: dict[str, type[LossModule]] = {
    "contrastive": Contrastive,
    "triplet": Triplet,
    "online_triplet": OnlineTriplet,
    "cosine_embedding": CosineEmbedding,
    "margin_ranking": MarginRanking,
    "negative_cosine": NegativeCosine,
}
"""The losses of this family."""
