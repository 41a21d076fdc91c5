"""Softmax losses over the cosines between vectors and one learned vector a class."""

from collections.abc import Mapping

from torch import Tensor

from talweg.v1 import losses_pb2 as pb
from talweg.worker.losses import checks
from talweg.worker.losses.base import LossModule, reduction_of, same_precision
from talweg.worker.losses.embedding_base import take_alike, take_labelled
from talweg.worker.losses.functional.embedding import margins


class _Angles(LossModule):
    """embeddings (N, D), class_weight (C, D), labels (N,)."""

    input_names = ("embeddings", "class_weight", "labels")

    def __init__(self, spec: pb.ArcFace | pb.CosFace) -> None:
        """Make the loss of a filled message."""
        super().__init__(reduction_of(spec))
        self.margin = spec.margin
        self.scale = spec.scale

    def check_values(self, inputs: Mapping[str, Tensor]) -> None:
        """Refuse class indices out of range; see `LossModule.check_values`.

        The number of classes is read off class_weight, so without it nothing is checked.
        """
        if "labels" in inputs and "class_weight" in inputs:
            checks.require_classes("labels", inputs["labels"], len(inputs["class_weight"]))

    def _take(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        checks.require_names(inputs, self.input_names)
        embeddings, labels = take_labelled(inputs)
        (weight,) = take_alike(inputs, ("class_weight",), "(C, D)")
        shape = (len(weight), embeddings.shape[1])
        checks.require_shape("class_weight", weight, shape, "vectors as long as the embeddings")
        return (*same_precision(embeddings, weight), labels)


class ArcFace(_Angles):
    """ArcFace: cross-entropy of cosines, the right class's angle raised by a margin.

    L = CE(scale cos θ), with cos(θ_y + margin) for the right class y

    Beyond θ_y = π - margin it is cos θ_y - margin sin(margin).

    Args:
        margin: By how much the right class's angle is raised, in radians; in [0, 3.14159), default
            0.5.
        scale: What the cosines are multiplied by; > 0, default 64.
        embedding_size: Length of the vectors that the model gives in a job, each compared with one
            learned vector a class; in [1, 65536], default 64.
        reduction: mean (default), sum or none.

    Inputs: embeddings (N, D); class_weight (C, D); labels (N,) class index.
    Returns: A value a sample (N,), or the reduced scalar.
    Reference: Deng et al. 2019, https://arxiv.org/abs/1801.07698
    """

    def _values(self, embeddings: Tensor, class_weight: Tensor, labels: Tensor) -> Tensor:
        return margins.arcface(
            embeddings, class_weight, labels, margin=self.margin, scale=self.scale
        )


class CosFace(_Angles):
    """CosFace: cross-entropy of cosines, the right class's cosine lowered by a margin.

    L = CE(scale cos θ), with cos θ_y - margin for the right class y

    Args:
        margin: By how much the right class's cosine is lowered; ≥ 0, default 0.35.
        scale: What the cosines are multiplied by; > 0, default 64.
        embedding_size: Length of the vectors that the model gives in a job, each compared with one
            learned vector a class; in [1, 65536], default 64.
        reduction: mean (default), sum or none.

    Inputs: embeddings (N, D); class_weight (C, D); labels (N,) class index.
    Returns: A value a sample (N,), or the reduced scalar.
    Reference: Wang et al. 2018, https://arxiv.org/abs/1801.09414
    """

    def _values(self, embeddings: Tensor, class_weight: Tensor, labels: Tensor) -> Tensor:
        return margins.cosface(
            embeddings, class_weight, labels, margin=self.margin, scale=self.scale
        )


BUILDERS: dict[str, type[LossModule]] = {"arcface": ArcFace, "cosface": CosFace}
"""The losses of this family."""
