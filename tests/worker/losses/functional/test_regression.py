"""gaussian_nll and tweedie."""

import math

import pytest
import torch
from scipy.stats import norm
from sklearn.metrics import mean_tweedie_deviance
from tests.worker.losses.functional.helpers import close, finite, numbers, shares, slopes_agree
from torch.nn import functional as F

from talweg.worker.losses.functional.regression import gaussian_nll, tweedie


@pytest.mark.parametrize("full", [False, True])
def test_gaussian_nll_is_the_negative_log_density(full: bool) -> None:
    pred, target, var = numbers(6), numbers(6, seed=1), shares(6) + 0.1
    expected = -norm.logpdf(target.detach(), pred.detach(), var.sqrt())
    if not full:
        expected -= math.log(2 * math.pi) / 2
    close(gaussian_nll(pred, target, var, full=full), expected)
    slopes_agree(lambda p, v: gaussian_nll(p, target, v), pred, var.requires_grad_())


def test_a_variance_below_eps_is_raised_and_learns_as_torchs_does() -> None:
    pred, target = torch.tensor([0.5] * 4), torch.zeros(4)
    var = torch.tensor([0.0, 1e-9, -5.0, 2.0], requires_grad=True)
    loss = gaussian_nll(pred, target, var)
    close(loss, [(math.log(v) + 0.25 / v) / 2 for v in (1e-6, 1e-6, 1e-6, 2.0)], rtol=1e-6)
    (ours,) = torch.autograd.grad(loss.sum(), var)
    allowed = torch.tensor([0.0, 1e-9, 0.0, 2.0], requires_grad=True)
    theirs = F.gaussian_nll_loss(pred, target, allowed, reduction="sum")
    torch.testing.assert_close(ours, torch.autograd.grad(theirs, allowed)[0])


def test_gaussian_nll_far_off_is_finite() -> None:
    finite(gaussian_nll, torch.tensor([1e4, -1e4]), torch.zeros(2), torch.tensor([0.0, 1e4]))


@pytest.mark.parametrize("power", [1.1, 1.5, 1.9])
def test_tweedie_is_scikit_learns_deviance(power: float) -> None:
    pred, target = shares(8) + 0.2, 3 * shares(8, seed=5)
    target[::3] = 0
    loss = tweedie(pred, target, power=power)
    close(loss.mean(), mean_tweedie_deviance(target.numpy(), pred.numpy(), power=power))
    slopes_agree(lambda p: tweedie(p, target, power=power), pred.requires_grad_())


def test_tweedie_is_zero_at_the_target() -> None:
    y = torch.tensor([0.5, 3.0], dtype=torch.float64)
    close(tweedie(y, y), [0.0, 0.0])


def test_tweedie_of_no_claims_is_finite_for_the_target_too() -> None:
    finite(tweedie, torch.tensor([0.01, 1e4]), torch.tensor([0.0, 0.0]))
