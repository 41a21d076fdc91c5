"""Losses of pairs and triplets of vectors: given ones, a value each, and those within a batch."""

from collections.abc import Mapping
from typing import cast

from torch import Tensor

from talweg.v1 import losses_pb2 as pb
from talweg.worker.losses import checks
from talweg.worker.losses.base import LossModule, reduction_of
from talweg.worker.losses.embedding_base import Pooled, choice_of, take_alike, take_labelled
from talweg.worker.losses.functional.embedding import mining, pairs


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
        checks.require_shape(name, answer, shape, "one value per pair")
        if answer.is_complex():
            checks.require_floats(name, answer)
        return one, other, answer.detach()


class Contrastive(_Judged):
    """Contrastive loss of pairs: like ones together, others apart by a margin.

    L = (y d² + (1 - y) max(0, margin - d)²) / 2, with d = |emb1 - emb2|, y = similar

    Args:
        margin: How far apart others must be, in units of the Euclidean distance; ≥ 0, default 1.
        reduction: mean (default), sum or none.

    Inputs: emb1 (N, D); emb2 (N, D); similar (N,) 0 or 1.
    Returns: A value a pair (N,), or the reduced scalar.
    Reference: Hadsell et al. 2006, https://doi.org/10.1109/CVPR.2006.100
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
    """Cosine embedding loss of pairs, as torch has it.

    L = 1 - cos where sign is 1, max(0, cos - margin) where it is -1

    Args:
        margin: The cosine that others may have; in [-1, 1], default 0.
        reduction: mean (default), sum or none.

    Inputs: emb1 (N, D); emb2 (N, D); sign (N,) 1 or -1.
    Returns: A value a pair (N,), or the reduced scalar.
    Reference: torch.nn.CosineEmbeddingLoss
    """

    input_names = ("emb1", "emb2", "sign")

    def __init__(self, spec: pb.CosineEmbedding) -> None:
        """Make the loss of a filled message."""
        super().__init__(reduction_of(spec))
        self.margin = spec.margin

    def _values(self, emb1: Tensor, emb2: Tensor, sign: Tensor) -> Tensor:
        return pairs.cosine_embedding(emb1, emb2, sign, margin=self.margin)


class MarginRanking(_Judged):
    """Margin ranking loss of pairs of scores, as torch has it.

    L = max(0, -sign (x1 - x2) + margin)

    Args:
        margin: By how much the higher must lead, in units of the scores; default 0.
        reduction: mean (default), sum or none.

    Inputs: x1 (N, …); x2 (N, …); sign (N, …) 1 or -1.
    Returns: A value a pair (N, …), or the reduced scalar.
    Reference: torch.nn.MarginRankingLoss
    """

    input_names = ("x1", "x2", "sign")
    _dimensions = ""

    def __init__(self, spec: pb.MarginRanking) -> None:
        """Make the loss of a filled message."""
        super().__init__(reduction_of(spec))
        self.margin = spec.margin

    def _values(self, x1: Tensor, x2: Tensor, sign: Tensor) -> Tensor:
        return pairs.margin_ranking(x1, x2, sign.to(x1), margin=self.margin)


class NegativeCosine(LossModule):
    """Negative cosine similarity of a prediction and the other view (SimSiam).

    L = -cos(emb1, emb2)

    Args:
        reduction: mean (default), sum or none.

    Inputs: emb1 (N, D); emb2 (N, D), without gradient.
    Returns: A value a pair (N,), or the reduced scalar.
    Reference: Chen and He 2021 (SimSiam), https://arxiv.org/abs/2011.10566
    """

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
    """Triplet loss: the positive nearer than the negative by a margin.

    L = max(0, d(a, p) - d(a, n) + margin), of anchor a, positive p, negative n

    swap: Balntas et al. 2016, https://doi.org/10.5244/C.30.119.

    Args:
        margin: By how much nearer the positive must be, in units of the distance; ≥ 0, default 1.
        distance: d: euclidean (default), sqeuclidean or cosine (1 - cos).
        swap: Take the smaller of d(a,n) and d(p,n) for d(a,n); default false.
        reduction: mean (default), sum or none.

    Inputs: anchor (N, D); positive (N, D); negative (N, D).
    Returns: A value a triplet (N,), or the reduced scalar.
    Reference: Schroff et al. 2015, https://arxiv.org/abs/1503.03832
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
    """Triplet loss over triplets found within the batch.

    L = max(0, d(a, p) - d(a, n) + margin), or log(1 + e^(d(a, p) - d(a, n))) where soft_margin

    hard takes each anchor's farthest positive and nearest negative, semihard every triplet with
    d(a, p) < d(a, n) < d(a, p) + margin, all every one.

    Args:
        strategy: Which triplets of the batch are taken: hard (default), semihard or all.
        margin: By how much nearer the positive must be, in units of the distance; ≥ 0, default 1.
        distance: d: euclidean (default), sqeuclidean or cosine (1 - cos).
        normalize: Divide the vectors by their norm first; default false.
        soft_margin: Take log(1 + e^(d(a,p) - d(a,n))) in place of the hinge, without the margin;
            default false.
        average: What the mean over all triplets divides by: nonzero (default), those of a loss
            above 0, or all.
        reduction: mean (default), each part over what it counts, or sum.

    Inputs: embeddings (N, D); labels (N,) class index.
    Returns: A scalar; 0 where the batch has no triplet.
    Reference: Hermans et al. 2017, https://arxiv.org/abs/1703.07737
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
        triplets = mining.online_triplet(
            embeddings,
            labels,
            strategy=self.strategy,
            margin=self.margin,
            kind=self.distance,
            normalize=self.normalize,
            soft_margin=self.soft_margin,
            nonzero=self.nonzero,
        )
        return (
            triplets.total
            if self.reduction == "sum"
            else triplets.total / triplets.number.clamp(min=1)
        )


BUILDERS: dict[str, type[LossModule]] = {
    "contrastive": Contrastive,
    "triplet": Triplet,
    "online_triplet": OnlineTriplet,
    "cosine_embedding": CosineEmbedding,
    "margin_ranking": MarginRanking,
    "negative_cosine": NegativeCosine,
}
"""The losses of this family."""
