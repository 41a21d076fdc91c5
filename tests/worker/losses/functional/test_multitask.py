"""Losses made of losses, gradients held in bounds, and class weights."""

import math
from typing import Any

import pytest
import torch
from tests.worker.losses.functional.helpers import close, finite, numbers, shares, slopes_agree
from torch import Tensor

from talweg.worker.losses.functional import gradients, multitask

LOSSES = torch.tensor([0.5, 2.0, 3.0], dtype=torch.float64, requires_grad=True)
LOG_VARS = torch.tensor([-0.3, 0.4, 1.0], dtype=torch.float64, requires_grad=True)


def test_kendall_halves_regression_alone() -> None:
    kinds: Any = ["regression", "classification", "regression"]
    expected = 0.0
    for loss, s, kind in zip(LOSSES.tolist(), LOG_VARS.tolist(), kinds, strict=True):
        expected += math.exp(-s) * loss / (2 if kind == "regression" else 1) + s / 2
    close(multitask.uncertainty(LOSSES, LOG_VARS, kinds), expected)
    slopes_agree(lambda a, s: multitask.uncertainty(a, s, kinds), LOSSES, LOG_VARS)
    simple = sum(
        math.exp(-s) * a + s for a, s in zip(LOSSES.tolist(), LOG_VARS.tolist(), strict=True)
    )
    close(multitask.uncertainty(LOSSES, LOG_VARS, None), simple)
    slopes_agree(lambda a, s: multitask.uncertainty(a, s, None), LOSSES, LOG_VARS)


@pytest.mark.parametrize(
    ("kind", "best"), [("regression", lambda a: 1 / a), ("classification", lambda a: 1 / (2 * a))]
)
def test_the_best_weight_is_kendalls(kind: Any, best: Any) -> None:
    """Regression's weight on its half is 1/L, classification's 1/(2L), not 1/L."""
    loss = torch.tensor([0.2], dtype=torch.float64)
    s = torch.tensor([-math.log(best(0.2))], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(multitask.uncertainty(loss, s, [kind]), s)
    assert slope.item() == pytest.approx(0, abs=1e-12)


def test_uncertainty_may_be_negative_and_is_held() -> None:
    assert multitask.uncertainty(torch.tensor([1e-4]), torch.tensor([-5.0]), None) < 0
    finite(lambda a, s: multitask.uncertainty(a, s, None), LOSSES, torch.tensor([-1e4, 1e4, 0.0]))


def test_gradnorm_pulls_towards_a_common_pace() -> None:
    weights, norms = numbers(3).detach().abs().requires_grad_(), shares(3) + 0.5
    initial = torch.tensor([1.0, 5.0, 4.0], dtype=torch.float64)
    rates = [a / b for a, b in zip(LOSSES.tolist(), initial.tolist(), strict=True)]
    weighted = (weights * norms).tolist()
    goals = [sum(weighted) / 3 * (rate / (sum(rates) / 3)) ** 1.5 for rate in rates]
    loss = multitask.gradnorm(weights, norms, LOSSES, initial)
    close(loss, sum(abs(w - goal) for w, goal in zip(weighted, goals, strict=True)))
    (slope,) = torch.autograd.grad(loss, weights)
    signs = [math.copysign(1, w - goal) for w, goal in zip(weighted, goals, strict=True)]
    close(slope, [s * n for s, n in zip(signs, norms.tolist(), strict=True)])


def test_gradnorm_without_losses_is_finite() -> None:
    nothing, one = torch.zeros(2), torch.ones(2)
    finite(lambda w: multitask.gradnorm(w, one, nothing, nothing), one)
    finite(lambda w: multitask.gradnorm(w, nothing, nothing, one), one)


def test_curriculum_averages_those_admitted() -> None:
    losses, difficulty = numbers(4), torch.tensor([0.1, 0.5, 0.5001, 0.9])
    close(multitask.curriculum(losses, difficulty, 0.5), losses[:2].mean().detach())
    slopes_agree(lambda a: multitask.curriculum(a, difficulty, 0.5), losses)
    value, (gradient,) = finite(lambda a: multitask.curriculum(a, difficulty, 0.0), losses)
    assert value == 0
    assert not gradient.any()


def test_clipping_by_the_global_norm_keeps_the_direction() -> None:
    given = [torch.tensor([3.0, 0.0]), torch.tensor([[4.0]])]
    clipped = gradients.clip_by_global_norm(given, 1.0)
    close(clipped[0], [0.6, 0.0], rtol=1e-6)
    close(clipped[1], [[0.8]], rtol=1e-6)
    assert given[1].item() == 4
    for bound in (5.0, 7.0):
        kept = gradients.clip_by_global_norm(given, bound)
        assert all(torch.equal(a, b) for a, b in zip(kept, given, strict=True))
    zero = [torch.zeros(2)]
    assert torch.equal(gradients.clip_by_global_norm(zero, 1.0)[0], zero[0])
    assert gradients.clip_by_global_norm([], 1.0) == []


def test_clipping_each_tensor_changes_the_direction() -> None:
    given = [torch.tensor([10.0, 0.0]), torch.tensor([0.0, 0.1])]
    together = torch.cat(given)
    alone = torch.cat([gradients.clip_by_global_norm([g], 0.1)[0] for g in given])
    clipped = torch.cat(gradients.clip_by_global_norm(given, 0.1))
    assert torch.cosine_similarity(together, clipped, 0).item() == pytest.approx(1)
    assert torch.cosine_similarity(together, alone, 0).item() < 0.75


def test_small_floats_are_measured_in_float32() -> None:
    given = [torch.full((100_000,), 1.0, dtype=torch.float16)]
    (clipped,) = gradients.clip_by_global_norm(given, 1.0)
    assert clipped.dtype is torch.float16
    assert clipped[0].item() == pytest.approx(1e5**-0.5, rel=1e-3)


def test_clipping_by_value_holds_each_number() -> None:
    given = [torch.tensor([3.0, -0.2, -9.0])]
    assert gradients.clip_by_value(given, 0.5)[0].tolist() == pytest.approx([0.5, -0.2, -0.5])
    assert given[0][0] == 3


@pytest.mark.parametrize("bound", [0.0, -1.0, math.nan])
def test_bounds_must_be_positive(bound: float) -> None:
    with pytest.raises(ValueError, match="max_norm must be > 0, but got"):
        gradients.clip_by_global_norm([torch.ones(1)], bound)
    with pytest.raises(ValueError, match="clip_value must be > 0, but got"):
        gradients.clip_by_value([torch.ones(1)], bound)


def test_class_weights_from_counts() -> None:
    counts = torch.tensor([60, 30, 10])
    close(gradients.balanced_weights(counts), [100 / 180, 100 / 90, 100 / 30])
    raw = [(1 - 0.99) / (1 - 0.99**n) for n in (60, 30, 10)]
    ours = gradients.effective_number_weights(counts, 0.99)
    close(ours, [3 * w / sum(raw) for w in raw])
    assert ours.sum().item() == pytest.approx(3)
    close(gradients.effective_number_weights(counts, 0.0), [1.0, 1.0, 1.0])


def test_classes_never_seen_weigh_nothing() -> None:
    unseen: list[Tensor] = [
        gradients.balanced_weights(torch.tensor([4, 0])),
        gradients.effective_number_weights(torch.tensor([4, 0]), 0.9),
    ]
    for weights in unseen:
        assert weights[1] == 0
        assert weights[0] > 0
    with pytest.raises(ValueError, match="beta must be at least 0 and below 1, but got 1"):
        gradients.effective_number_weights(torch.tensor([1]), 1.0)
