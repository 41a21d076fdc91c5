"""Pairs and triplets for the losses that take such: from the classes of a batch, or from the data.

Those from classes are of pred, embeddings (N, D), and target, class indices (N,).
"""

from collections.abc import Mapping
from typing import TypedDict

import torch
from torch import Tensor
from torch.nn import functional as F

from talweg.spec import kind, loss_facts
from talweg.v1.losses_pb2 import Loss
from talweg.worker.losses import LossModule
from talweg.worker.tasks.common.adapters import Head

# What a loss of pairs is told of those of two classes, by the name of that input.
_OF_TWO_CLASSES = {"similar": 0, "sign": -1}
# Evaluations draw the same partners again each time.
_SEED = 0


class _Similarity(TypedDict):
    similarity: str
    other: int


class ByClass(Head):
    """A loss of embeddings and labels, which looks for pairs itself."""

    def _changed(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return {"embeddings": inputs["pred"], "labels": inputs["target"]}


class _Drawn(Head):
    """A loss of each sample, another of its class, and one of another class.

    Both are drawn from the batch anew each time; samples without either are left out.
    """

    def __init__(self, inner: LossModule) -> None:
        """Stand before a loss."""
        super().__init__(inner)
        # Of another batch other partners are drawn.
        self.pools_batch = True

    def check_values(self, inputs: Mapping[str, Tensor]) -> None:
        """Check nothing: the loss's inputs are made here."""

    def _changed(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        embeddings, labels = inputs["pred"], inputs["target"]
        with torch.no_grad():
            same = labels[:, None] == labels
            chance = self._chance(len(labels)).to(labels.device)
            chance.fill_diagonal_(0)
            positive = (chance * same).argmax(1)
            negative = (chance * ~same).argmax(1)
            anchors = torch.nonzero((same.sum(1) > 1) & (same.sum(1) < len(labels)))[:, 0]
        return self._grouped(
            embeddings[anchors], embeddings[positive[anchors]], embeddings[negative[anchors]]
        )

    def _chance(self, count: int) -> Tensor:
        generator = None if self.training else torch.Generator().manual_seed(_SEED)
        # Above 0, so that whoever is allowed comes before whoever is not.
        return 1 - torch.rand(count, count, generator=generator)

    def _grouped(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> dict[str, Tensor]:
        """Return the loss's inputs."""
        raise NotImplementedError


class InTriplets(_Drawn):
    """A loss of anchor, positive and negative."""

    def _grouped(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> dict[str, Tensor]:
        return {"anchor": anchor, "positive": positive, "negative": negative}


class InPairs(_Drawn):
    """A loss of pairs and of what each is, as many of one class as of two."""

    def __init__(self, inner: LossModule, *, similarity: str, other: int) -> None:
        """Stand before a loss.

        Args:
            inner: Takes emb1, emb2 and their similarity: 1 for pairs of one class.
            similarity: The name of that input.
            other: The similarity of pairs of two classes.
        """
        super().__init__(inner)
        self._similarity = similarity
        self._other = other

    def _grouped(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> dict[str, Tensor]:
        ones = anchor.new_ones(len(anchor))
        return {
            "emb1": torch.cat([anchor, anchor]),
            "emb2": torch.cat([positive, negative]),
            self._similarity: torch.cat([ones, ones * self._other]),
        }


class InOrder(_Drawn):
    """A loss of two scores and their order: the cosine to one of the class is the higher."""

    def _grouped(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> dict[str, Tensor]:
        return _order(anchor, positive, negative)


class OfPairs(Head):
    """A loss of the data's pairs: embeddings left and right (N, D), and same (N,), 1 or 0."""

    input_names = ("left", "right", "same")

    def __init__(self, inner: LossModule, *, similarity: str, other: int) -> None:
        """Stand before a loss; for arguments see `InPairs`."""
        super().__init__(inner)
        self._similarity = similarity
        self._other = other

    def _changed(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        same = inputs["same"].to(inputs["left"].dtype)
        return {
            "emb1": inputs["left"],
            "emb2": inputs["right"],
            self._similarity: same + self._other * (1 - same),
        }


class OfOrder(Head):
    """A loss of two scores of the data's triplets: the cosine to the positive is the higher."""

    input_names = ("anchor", "positive", "negative")

    def _changed(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return _order(inputs["anchor"], inputs["positive"], inputs["negative"])


def _order(anchor: Tensor, positive: Tensor, negative: Tensor) -> dict[str, Tensor]:
    return {
        "x1": F.cosine_similarity(anchor, positive),
        "x2": F.cosine_similarity(anchor, negative),
        "sign": anchor.new_ones(len(anchor)),
    }


def drawn(loss: Loss, module: LossModule) -> LossModule | None:
    """Adapt a loss to embeddings and class indices; None where it compares no groups.

    Args:
        loss: Filled.
        module: The loss by itself.
    """
    groups = _groups(loss)
    if groups == "pairs":
        return InPairs(module, **_similarity(module))
    if groups == "triplets":
        return InTriplets(module) if _takes_triplets(module) else InOrder(module)
    return ByClass(module) if module.input_names == ("embeddings", "labels") else None


def of_data(loss: Loss, module: LossModule) -> LossModule:
    """Adapt a loss to the embeddings of the data's pairs or triplets; see `drawn`."""
    if _groups(loss) == "pairs":
        return OfPairs(module, **_similarity(module))
    return module if _takes_triplets(module) else OfOrder(module)


def _groups(loss: Loss) -> str:
    """Return what a loss compares: pairs, triplets, or neither."""
    return loss_facts(kind(loss)[1].DESCRIPTOR).groups


def _similarity(module: LossModule) -> _Similarity:
    *_, name = module.input_names
    return {"similarity": name, "other": _OF_TWO_CLASSES[name]}


def _takes_triplets(module: LossModule) -> bool:
    return module.input_names == ("anchor", "positive", "negative")
