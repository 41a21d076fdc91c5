"""The optimizers, one builder a message.

To add one: a builder, and its row in `OPTIMIZERS`, which a test holds complete. Fused kernels are
taken wherever torch has them: they do a step in one pass over the weights.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import chain, groupby
from typing import Any

import torch
from torch import nn

from talweg.spec import kind
from talweg.v1 import optimizers_pb2 as messages
from talweg.worker.training.optim.untraced import untraced

Parameters = Sequence[nn.Parameter] | Sequence[dict[str, Any]]
"""Parameters, or groups of them as `groups` makes them."""

_SGD, _Adam = untraced(torch.optim.SGD), untraced(torch.optim.Adam)
_AdamW, _RMSprop = untraced(torch.optim.AdamW), untraced(torch.optim.RMSprop)
_Adagrad = untraced(torch.optim.Adagrad)

RATE_FACTOR = "rate_factor"
"""The setting of a group that the learning rate is multiplied by; 1 where absent."""


def build(optimizer: messages.Optimizer, parameters: Parameters) -> torch.optim.Optimizer:
    """Build a filled optimizer over the parameters, or over groups of them."""
    name, message = kind(optimizer)
    return OPTIMIZERS[name](message, parameters)


def groups(model: nn.Module, factors: Mapping[str, float]) -> list[dict[str, Any]]:
    """Return what an optimizer trains of a model: groups of parameters with equal factors.

    A group is a run of neighbours in the model's own order. So an optimizer numbers its parameters
    as it would without groups, and its state can be restored under other factors.

    Args:
        model: All that is trained; what is frozen is in no group.
        factors: What the learning rate is multiplied by, by parameter; 1 for all others.
    """
    trained = [
        (factors.get(name, 1.0), parameter)
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    ]
    return [
        {"params": [parameter for _, parameter in run], RATE_FACTOR: factor}
        for factor, run in groupby(trained, key=lambda each: each[0])
    ]


def learning_rate(optimizer: messages.Optimizer) -> float:
    """Return a filled optimizer's learning rate, before any schedule."""
    _, message = kind(optimizer)
    rate: float = message.learning_rate  # type: ignore[attr-defined]
    return rate


def _sgd(optimizer: messages.Sgd, parameters: Parameters) -> torch.optim.Optimizer:
    built = _SGD(
        parameters,
        lr=optimizer.learning_rate,
        momentum=optimizer.momentum,
        nesterov=optimizer.nesterov,
        weight_decay=optimizer.weight_decay,
        fused=True,
    )
    if optimizer.momentum:
        # From zeros the first step is what it is without. torch's own would make a buffer in each
        # parameter's first step, and its fused kernel refuses to do so for some of them.
        for parameter in chain.from_iterable(group["params"] for group in built.param_groups):
            built.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter.detach())
    return built


def _adam(optimizer: messages.Adam, parameters: Parameters) -> torch.optim.Optimizer:
    return _Adam(parameters, **_adam_arguments(optimizer))


def _adamw(optimizer: messages.AdamW, parameters: Parameters) -> torch.optim.Optimizer:
    return _AdamW(parameters, **_adam_arguments(optimizer))


def _adam_arguments(optimizer: messages.Adam | messages.AdamW) -> dict[str, Any]:
    return {
        "lr": optimizer.learning_rate,
        "betas": (optimizer.beta1, optimizer.beta2),
        "eps": optimizer.eps,
        "weight_decay": optimizer.weight_decay,
        "fused": True,
    }


def _rmsprop(optimizer: messages.RmsProp, parameters: Parameters) -> torch.optim.Optimizer:
    # torch has no fused kernel for it.
    return _RMSprop(
        parameters,
        lr=optimizer.learning_rate,
        alpha=optimizer.alpha,
        eps=optimizer.eps,
        momentum=optimizer.momentum,
        weight_decay=optimizer.weight_decay,
        foreach=True,
    )


def _adagrad(optimizer: messages.Adagrad, parameters: Parameters) -> torch.optim.Optimizer:
    return _Adagrad(
        parameters,
        lr=optimizer.learning_rate,
        eps=optimizer.eps,
        weight_decay=optimizer.weight_decay,
        fused=True,
    )


OPTIMIZERS: dict[str, Callable[[Any, Parameters], torch.optim.Optimizer]] = {
    "sgd": _sgd,
    "adam": _adam,
    "adamw": _adamw,
    "rmsprop": _rmsprop,
    "adagrad": _adagrad,
}
"""Every member of `Optimizer` with its builder."""
