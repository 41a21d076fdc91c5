"""Losses that tell vectors of a batch apart by their cosines, a value an anchor.

Every vector is divided by its norm inside.
"""

from collections.abc import Mapping

from torch import Tensor

from talweg.v1 import losses_pb2 as pb
from talweg.worker.losses import checks
from talweg.worker.losses.base import LossModule, reduction_of, same_precision
from talweg.worker.losses.embedding_base import Counted, take_alike, take_labelled
from talweg.worker.losses.functional.embedding import contrastive


class _TwoViews(LossModule):
    """Two vectors a sample, of one shape (N, D)."""

    def _take(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        checks.require_names(inputs, self.input_names)
        return take_alike(inputs, self.input_names)


class NtXent(_TwoViews):
    """NT-Xent (SimCLR): each of 2N vectors tells its other view from all others.

    L = -log(e^s_ij / Σ_k≠i e^s_ik), s = cos / temperature, j being i's other view

    Args:
        temperature: What the cosines are divided by; > 0, default 0.5.
        reduction: mean (default), sum or none.

    Inputs: z1 (N, D); z2 (N, D).
    Returns: A value a vector (2N,), z1's first, or the reduced scalar.
    Reference: Chen et al. 2020 (SimCLR), https://arxiv.org/abs/2002.05709
    """

    input_names = ("z1", "z2")

    def __init__(self, spec: pb.NtXent) -> None:
        """Make the loss of a filled message."""
        super().__init__(reduction_of(spec))
        self.temperature = spec.temperature

    def _values(self, z1: Tensor, z2: Tensor) -> Tensor:
        return contrastive.nt_xent(z1, z2, temperature=self.temperature)


class InfoNce(LossModule):
    """InfoNCE: each query tells its positive from negatives, in one direction.

    L = -log(e^s_ii / Σ_k e^s_ik), s = cos / temperature

    Negatives, where given, stand for all queries in the place of the other positives.

    Args:
        temperature: What the cosines are divided by; > 0, default 0.07.
        reduction: mean (default), sum or none.

    Inputs: query (N, D); positive (N, D); negatives (M, D), optional.
    Returns: A value a query (N,), or the reduced scalar.
    Reference: Van den Oord et al. 2018, https://arxiv.org/abs/1807.03748
    """

    input_names = ("query", "positive")
    optional_names = ("negatives",)

    def __init__(self, spec: pb.InfoNce) -> None:
        """Make the loss of a filled message."""
        super().__init__(reduction_of(spec))
        self.temperature = spec.temperature

    def _take(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        checks.require_names(inputs, self.input_names, self.optional_names)
        query, positive = take_alike(inputs, self.input_names)
        if "negatives" not in inputs:
            return query, positive
        (negatives,) = take_alike(inputs, self.optional_names, "(M, D)")
        shape = (len(negatives), query.shape[1])
        checks.require_shape("negatives", negatives, shape, "vectors as long as those of query")
        return same_precision(query, positive, negatives)

    def _values(self, query: Tensor, positive: Tensor, negatives: Tensor | None = None) -> Tensor:
        return contrastive.info_nce(query, positive, negatives, temperature=self.temperature)


class Clip(_TwoViews):
    """CLIP: images and texts find each other within the batch, in both directions.

    L = (CE_rows(s) + CE_columns(s)) / 2, s = logit_scale cos

    Args:
        logit_scale: What the cosines are multiplied by; > 0, default 14.2857.
        reduction: mean (default), sum or none.

    Inputs: image (N, D); text (N, D).
    Returns: A value a pair (N,), or the reduced scalar.
    Reference: Radford et al. 2021, https://arxiv.org/abs/2103.00020
    """

    input_names = ("image", "text")

    def __init__(self, spec: pb.Clip) -> None:
        """Make the loss of a filled message."""
        super().__init__(reduction_of(spec))
        self.logit_scale = spec.logit_scale

    def _values(self, image: Tensor, text: Tensor) -> Tensor:
        return contrastive.clip(image, text, self.logit_scale)


class _Labelled(LossModule):
    """Vectors and their classes: embeddings (N, D), labels (N,)."""

    input_names = ("embeddings", "labels")

    def _take(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        checks.require_names(inputs, self.input_names)
        return take_labelled(inputs)


class SupCon(_Labelled, Counted):
    """Supervised contrastive loss (L_out): each vector finds the others of its class.

    L = -mean_p log(e^s_ip / Σ_a≠i e^s_ia), s = cos / temperature

    The mean is over anchors that have a positive.

    Args:
        temperature: What the cosines are divided by; > 0, default 0.1.
        reduction: mean (default), sum or none.

    Inputs: embeddings (N, D); labels (N,) class index.
    Returns: A value an anchor (N,), or the reduced scalar.
    Reference: Khosla et al. 2020, https://arxiv.org/abs/2004.11362
    """

    def __init__(self, spec: pb.SupCon) -> None:
        """Make the loss of a filled message."""
        super().__init__(reduction_of(spec))
        self.temperature = spec.temperature

    def _counted(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return contrastive.supcon(embeddings, labels, temperature=self.temperature)


class Circle(_Labelled, Counted):
    """Circle loss: each pair weighed by how far its cosine s is from where it should be.

    L = log(1 + Σ_p e^(-γ α_p (s - 1 + m)) Σ_n e^(γ α_n (s - m)))

    α_p = max(0, 1 + m - s) and α_n = max(0, s + m) have no gradient. The mean is over anchors that
    have positives and negatives.

    Args:
        m: The margin m, in units of the cosine; default 0.25.
        gamma: The scale γ; > 0, default 64.
        reduction: mean (default), sum or none.

    Inputs: embeddings (N, D); labels (N,) class index.
    Returns: A value an anchor (N,), or the reduced scalar.
    Reference: Sun et al. 2020, https://arxiv.org/abs/2002.10857
    """

    def __init__(self, spec: pb.Circle) -> None:
        """Make the loss of a filled message."""
        super().__init__(reduction_of(spec))
        self.m = spec.m
        self.gamma = spec.gamma

    def _counted(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return contrastive.circle(embeddings, labels, m=self.m, gamma=self.gamma)


class MultiSimilarity(_Labelled):
    """Multi-similarity loss: each pair's cosine s weighed against others of its anchor.

    L = log(1 + Σ_p e^(-α (s - base)))/α + log(1 + Σ_n e^(β (s - base)))/β

    α is alpha and β beta. Nothing is mined, and the mean is over all anchors.

    Args:
        alpha: How sharply far positives count; > 0, default 2.
        beta: How sharply near negatives count; > 0, default 50.
        base: The cosine that parts them; default 0.5.
        reduction: mean (default), sum or none.

    Inputs: embeddings (N, D); labels (N,) class index.
    Returns: A value an anchor (N,), or the reduced scalar.
    Reference: Wang et al. 2019, https://arxiv.org/abs/1904.06627
    """

    def __init__(self, spec: pb.MultiSimilarity) -> None:
        """Make the loss of a filled message."""
        super().__init__(reduction_of(spec))
        self.alpha = spec.alpha
        self.beta = spec.beta
        self.base = spec.base

    def _values(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        return contrastive.multi_similarity(
            embeddings, labels, alpha=self.alpha, beta=self.beta, base=self.base
        )


BUILDERS: dict[str, type[LossModule]] = {
    "nt_xent": NtXent,
    "info_nce": InfoNce,
    "clip": Clip,
    "supcon": SupCon,
    "circle": Circle,
    "multi_similarity": MultiSimilarity,
}
"""The losses of this family."""
