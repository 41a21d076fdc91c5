"""Optimizer steps over lists of tensors, without what torch's optimizers do around them.

For a small network the Python around a fused kernel costs several times the kernel. These kernels
are not part of torch's public interface: `KERNELS` holds those that this torch has, and for any
other optimizer its own step is taken.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Tensors = Sequence[Tensor]
State = Mapping[str, Tensors]
Settings = Mapping[str, Any]

LANES = 16
"""Elements of the widest vectors. The kernels take what is left at a tensor's end one by one, and
round it another way: tensors give the same numbers joined only where none has such a rest."""


@dataclass(frozen=True)
class Kernel:
    """How one of torch's optimizers steps."""

    step: Callable[[Tensors, Tensors, State, Settings, Tensor | None], None]
    """From parameters, gradients, state by name, the settings of the optimizer's group, and a
    scalar that makes it do nothing where it is 1. The steps in the state count this one already.
    """
    state: Callable[[Settings], tuple[str, ...]]
    """Names of the state that it needs."""


def _adam(fused: Callable[..., Any]) -> Kernel:
    def step(
        parameters: Tensors,
        gradients: Tensors,
        state: State,
        settings: Settings,
        found_inf: Tensor | None,
    ) -> None:
        beta1, beta2 = settings["betas"]
        fused(
            parameters,
            gradients,
            state["exp_avg"],
            state["exp_avg_sq"],
            [],
            state["step"],
            lr=settings["lr"],
            beta1=beta1,
            beta2=beta2,
            weight_decay=settings["weight_decay"],
            eps=settings["eps"],
            amsgrad=False,
            maximize=False,
            found_inf=found_inf,
        )

    return Kernel(step, lambda _: ("step", "exp_avg", "exp_avg_sq"))


def _sgd(fused: Callable[..., Any]) -> Kernel:
    def step(
        parameters: Tensors,
        gradients: Tensors,
        state: State,
        settings: Settings,
        found_inf: Tensor | None,
    ) -> None:
        fused(
            parameters,
            gradients,
            state.get("momentum_buffer", []),
            lr=settings["lr"],
            momentum=settings["momentum"],
            nesterov=settings["nesterov"],
            weight_decay=settings["weight_decay"],
            dampening=0.0,
            maximize=False,
            found_inf=found_inf,
            # There are buffers already.
            is_first_step=False,
        )

    return Kernel(step, lambda settings: ("momentum_buffer",) if settings["momentum"] else ())


def _adagrad(fused: Callable[..., Any]) -> Kernel:
    def step(
        parameters: Tensors,
        gradients: Tensors,
        state: State,
        settings: Settings,
        found_inf: Tensor | None,
    ) -> None:
        fused(
            parameters,
            gradients,
            state["sum"],
            state["step"],
            lr=settings["lr"],
            lr_decay=0.0,
            weight_decay=settings["weight_decay"],
            eps=settings["eps"],
            maximize=False,
            found_inf=found_inf,
        )

    return Kernel(step, lambda _: ("step", "sum"))


def _of_torch() -> dict[type[torch.optim.Optimizer], Kernel]:
    kernels: tuple[tuple[type[torch.optim.Optimizer], Callable[..., Kernel], str], ...] = (
        (torch.optim.SGD, _sgd, "_fused_sgd_"),
        (torch.optim.Adam, _adam, "_fused_adam_"),
        (torch.optim.AdamW, _adam, "_fused_adamw_"),
        (torch.optim.Adagrad, _adagrad, "_fused_adagrad_"),
    )
    return {
        optimizer: kernel(getattr(torch, name))
        for optimizer, kernel, name in kernels
        if hasattr(torch, name)
    }


KERNELS = _of_torch()
"""The kernels that this torch has, by the optimizer whose step they are: without amsgrad,
dampening, a falling rate and maximising, which no job asks for."""
