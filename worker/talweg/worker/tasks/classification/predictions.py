"""Probabilities of classes or labels, of outputs that are logits, embeddings or probabilities."""

from dataclasses import dataclass, field, replace
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from talweg.spec import kind, output_activation, output_of
from talweg.v1.options_pb2 import OutputFacts
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.data import DataBundle
from talweg.worker.tasks.common.metrics import Floats
from talweg.worker.tasks.common.postprocessing import ACTIVATIONS, Activation, Postprocessor


@dataclass(frozen=True)
class Probabilities(Postprocessor):
    """Probabilities (N, C) of the classes or labels, or (N, 1) of class 1 of two."""

    kind = "probabilities"
    activation: Activation
    """What turns logits into probabilities; none where outputs are probabilities already."""
    cosine_scale: float | None = None
    """What the cosines between outputs and class vectors are multiplied by to be logits; None
    where the outputs are no embeddings."""
    class_vectors: Tensor | None = field(default=None, compare=False)
    """A learned vector a class (C, D), of length 1."""

    def with_class_vectors(self, vectors: Tensor) -> Self:
        """Take the vectors of classes where the outputs are compared with them."""
        if self.cosine_scale is None:
            return self
        return replace(self, class_vectors=F.normalize(vectors, dim=1))

    def __call__(self, outputs: Tensor) -> Tensor:
        """Return the probabilities of outputs, with the class vectors where they are needed."""
        if self.cosine_scale is not None:
            assert self.class_vectors is not None
            outputs = self.cosine_scale * (F.normalize(outputs, dim=1) @ self.class_vectors.T)
        return self.of_logits(outputs)

    def of_logits(self, logits: Tensor) -> Tensor:
        """Return the probabilities of logits, or of what the last layer has made of them."""
        return ACTIVATIONS[self.activation](logits)

    def log_odds(self, logits: Tensor) -> Floats | None:
        """Return log p / (1 - p) of probabilities p; None where the last layer gives these."""
        if self.activation == "sigmoid":
            odds: Floats = logits.numpy()
        elif self.activation == "softmax":
            odds = class_log_odds(logits).numpy()
        else:
            return None
        return odds

    def described(self) -> dict[str, Any]:
        """Return its parameters; the vectors are weights."""
        scale = {} if self.cosine_scale is None else {"cosine_scale": self.cosine_scale}
        return {"kind": self.kind, "activation": self.activation, **scale}


POSTPROCESSORS = (Probabilities,)


def class_log_odds(logits: Tensor) -> Tensor:
    """Return log p / (1 - p) of the classes' probabilities p = softmax(logits), both (N, C)."""
    log_p = logits.log_softmax(dim=1)
    # Of all classes but the likeliest p is at most one half; its rest is the sum of theirs.
    first = logits.argmax(dim=1, keepdim=True)
    rest = logits.scatter(1, first, -torch.inf).logsumexp(dim=1, keepdim=True)
    odds = log_p - torch.log1p(-log_p.exp().clamp(max=0.75))
    return odds.scatter(1, first, logits.gather(1, first) - rest)


def postprocessor(spec: JobSpec, bundle: DataBundle) -> Probabilities:
    """Make the postprocessor of a filled spec."""
    is_multiclass = kind(spec.task)[0] == "multiclass"
    activation: Activation = "softmax" if is_multiclass else "sigmoid"
    output = output_of(spec.loss)
    if is_multiclass and output.kind == OutputFacts.CLASS_EMBEDDING:
        return Probabilities(activation, cosine_scale=output.scale)
    return Probabilities(activation if output_activation(spec) == "none" else "none")
