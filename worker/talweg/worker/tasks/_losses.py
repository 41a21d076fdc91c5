"""Puts the loss behind the model's outputs, and tells what a loss is made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from google.protobuf.message import Message
from torch import Tensor

from talweg.spec import kind
from talweg.v1 import options_pb2
from talweg.v1.losses_pb2 import Loss
from talweg.worker import losses
from talweg.worker.losses import LossModule


def leaves(loss: Loss) -> Iterator[tuple[str, Message]]:
    """Gives each loss that is no sum: its name and its parameters."""
    name, message = kind(loss)
    if name == "sum":
        for term in loss.sum.terms:
            yield from leaves(term.loss)
    else:
        yield name, message


def criterion(loss: Loss, *, ends_in: str) -> LossModule:
    """Builds a loss that takes a model's outputs as they are.

    Args:
        loss: A filled loss.
        ends_in: What the model's last layer applies: "none", "sigmoid" or "softmax".
    """
    name, message = kind(loss)
    if name == "sum":
        terms = [criterion(term.loss, ends_in=ends_in) for term in loss.sum.terms]
        return losses.Sum(terms, [term.weight for term in loss.sum.terms])
    module = losses.build(loss)
    if name == "multi_quantile":
        return _ByQuantile(module, len(loss.multi_quantile.quantiles))
    facts = message.DESCRIPTOR.GetOptions().Extensions[options_pb2.loss]
    if facts.activation == options_pb2.SIGMOID and ends_in == "none":
        return _AfterSigmoid(module)
    return module


class _Around(LossModule):
    """A loss whose pred is changed on the way in."""

    def __init__(self, inner: LossModule) -> None:
        super().__init__(inner.reduction)
        self.inner = inner
        self.input_names = inner.input_names
        self.optional_names = inner.optional_names

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        loss: Tensor = self.inner(self._changed(inputs))
        return loss

    def values(self, inputs: Mapping[str, Tensor]) -> Tensor:
        return self.inner.values(self._changed(inputs))

    def check_inputs(self, inputs: Mapping[str, Tensor]) -> None:
        self.inner.check_inputs(self._changed(inputs))

    def check_values(self, inputs: Mapping[str, Tensor]) -> None:
        self.inner.check_values(self._changed(inputs))

    def _changed(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        if "pred" not in inputs:
            return inputs
        return {**inputs, "pred": self._change(inputs["pred"])}

    def _change(self, pred: Tensor) -> Tensor:
        raise NotImplementedError


class _AfterSigmoid(_Around):
    """A loss of probabilities over a model that gives logits."""

    def _change(self, pred: Tensor) -> Tensor:
        return torch.sigmoid(pred)


class _ByQuantile(_Around):
    """A loss of pred (N, K, Q) over a model that gives (N, K·Q): a target's quantiles together."""

    def __init__(self, inner: LossModule, num_quantiles: int) -> None:
        super().__init__(inner)
        self._num_quantiles = num_quantiles

    def _change(self, pred: Tensor) -> Tensor:
        return pred.reshape(*pred.shape[:-1], -1, self._num_quantiles)
