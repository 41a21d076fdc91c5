from typing import Any

import pytest
import torch
from torch import nn

from talweg.spec import fill_message, from_dict
from talweg.v1.optimizers_pb2 import Optimizer
from talweg.worker.training.guard.overflow import GROWTH_BOUNDS, LARGEST_WEIGHT, steps_apart
from talweg.worker.training.optim import optimizers

CASES: dict[str, tuple[dict[str, Any], Any, dict[str, Any]]] = {
    "sgd": (
        {"learning_rate": 0.1, "momentum": 0.8, "nesterov": True, "weight_decay": 0.02},
        torch.optim.SGD,
        {"lr": 0.1, "momentum": 0.8, "nesterov": True, "weight_decay": 0.02},
    ),
    "adam": (
        {"learning_rate": 0.1, "beta1": 0.8, "beta2": 0.95, "eps": 1e-3, "weight_decay": 0.02},
        torch.optim.Adam,
        {"lr": 0.1, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.02},
    ),
    "adamw": (
        {"learning_rate": 0.1, "beta1": 0.8, "beta2": 0.95, "eps": 1e-3, "weight_decay": 0.02},
        torch.optim.AdamW,
        {"lr": 0.1, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.02},
    ),
    "rmsprop": (
        {"learning_rate": 0.1, "alpha": 0.9, "eps": 1e-3, "momentum": 0.5, "weight_decay": 0.02},
        torch.optim.RMSprop,
        {"lr": 0.1, "alpha": 0.9, "eps": 1e-3, "momentum": 0.5, "weight_decay": 0.02},
    ),
    "adagrad": (
        {"learning_rate": 0.1, "eps": 1e-3, "weight_decay": 0.02},
        torch.optim.Adagrad,
        {"lr": 0.1, "eps": 1e-3, "weight_decay": 0.02},
    ),
}


def test_every_optimizer_has_a_builder_and_a_case() -> None:
    members = [field.name for field in Optimizer.DESCRIPTOR.oneofs_by_name["kind"].fields]
    assert sorted(optimizers.OPTIMIZERS) == sorted(members) == sorted(CASES)


def test_every_optimizer_has_a_bound_on_its_growth() -> None:
    members = [field.name for field in Optimizer.DESCRIPTOR.oneofs_by_name["kind"].fields]
    assert sorted(GROWTH_BOUNDS) == sorted(members)


@pytest.mark.parametrize("decay", [0, 10])
@pytest.mark.parametrize("name", CASES)
def test_weights_cannot_overflow_between_two_looks(name: str, decay: float) -> None:
    fields = {"learning_rate": 1000, "weight_decay": decay}
    message = fill_message(from_dict({name: fields}, Optimizer))
    weight = nn.Parameter(torch.tensor([LARGEST_WEIGHT, -LARGEST_WEIGHT]))
    optimizer = optimizers.build(message, [weight])
    for _ in range(steps_apart(message)):
        # As large as the guard lets them be, and away from zero.
        weight.grad = -torch.tensor([1e18, -1e18])
        optimizer.step()
    assert torch.isfinite(weight).all()


def steps(make: Any) -> torch.Tensor:
    """Return where five steps of an optimizer lead."""
    generator = torch.Generator().manual_seed(0)
    weight = nn.Parameter(torch.randn(6, 5, generator=generator))
    optimizer = make([weight])
    for _ in range(5):
        weight.grad = weight.detach() ** 2 + torch.randn(6, 5, generator=generator)
        optimizer.step()
    return weight.detach()


@pytest.mark.parametrize("name", CASES)
def test_it_is_torchs_with_every_parameter(name: str) -> None:
    fields, plain, arguments = CASES[name]
    message = fill_message(from_dict({name: fields}, Optimizer))
    ours = steps(lambda weights: optimizers.build(message, weights))
    theirs = steps(lambda weights: plain(weights, **arguments, foreach=False))
    assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    assert optimizers.learning_rate(message) == 0.1


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_begins_as_torchs_does_for_each_parameter(nesterov: bool) -> None:
    spec = {"learning_rate": 0.1, "momentum": 0.9, "nesterov": nesterov, "weight_decay": 0.1}
    message = fill_message(from_dict({"sgd": spec}, Optimizer))
    late = [False, True, True, False, True]

    def trained(make: Any) -> list[torch.Tensor]:
        generator = torch.Generator().manual_seed(0)
        weights = [nn.Parameter(torch.randn(5, 7, generator=generator)) for _ in range(2)]
        optimizer = make(weights)
        for takes_part in late:
            for weight, there in zip(weights, (True, takes_part), strict=True):
                gradient = torch.randn(5, 7, generator=generator)
                weight.grad = gradient if there else None
            optimizer.step()
        return [weight.detach() for weight in weights]

    ours = trained(lambda weights: optimizers.build(message, weights))
    # Its fused kernel cannot: one optimizer a parameter can.
    one_by_one = trained(
        lambda weights: Each(
            torch.optim.SGD([w], 0.1, 0.9, weight_decay=0.1, nesterov=nesterov, fused=True)
            for w in weights
        )
    )
    assert all(map(torch.equal, ours, one_by_one))


class Each:
    """Several optimizers as one."""

    def __init__(self, optimizers: Any) -> None:
        self._optimizers = list(optimizers)

    def step(self) -> None:
        for optimizer in self._optimizers:
            optimizer.step()


@pytest.mark.parametrize("name", CASES)
def test_every_parameter_matters(name: str) -> None:
    fields, _, _ = CASES[name]
    message = fill_message(from_dict({name: fields}, Optimizer))
    whole = steps(lambda weights: optimizers.build(message, weights))
    for field in fields:
        changed = fill_message(from_dict({name: fields}, Optimizer))
        changed_kind = getattr(changed, name)
        changed_kind.ClearField(field)
        filled = fill_message(changed)
        other = steps(lambda weights, filled=filled: optimizers.build(filled, weights))
        assert not torch.equal(whole, other), field
