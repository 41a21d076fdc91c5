"""Adversarial losses, the gradient penalty and the variational bound."""

import math
from typing import Any

import pytest
import torch
from scipy.stats import norm
from tests.worker.losses.functional.helpers import close, finite, numbers, shares, slopes_agree
from torch import Tensor, nn

from talweg.worker.losses.functional import generative

REAL, FAKE = numbers(5, 1), numbers(3, 1, seed=1)


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


FORMS: list[tuple[str, Any, Any, Any]] = [
    ("bce", lambda r: softplus(-r), softplus, lambda f: softplus(-f)),
    ("hinge", lambda r: max(0, 1 - r), lambda f: max(0, 1 + f), lambda f: -f),
    ("lsgan", lambda r: (r - 1) ** 2 / 2, lambda f: f * f / 2, lambda f: (f - 1) ** 2 / 2),
    ("wgan", lambda r: -r, lambda f: f, lambda f: -f),
]


@pytest.mark.parametrize(("form", "of_real", "of_fake", "generator"), FORMS)
def test_games_by_their_definitions(form: Any, of_real: Any, of_fake: Any, generator: Any) -> None:
    real, fake = REAL.flatten().tolist(), FAKE.flatten().tolist()
    expected = sum(map(of_real, real)) / 5 + sum(map(of_fake, fake)) / 3
    close(generative.gan_discriminator(REAL, FAKE, form), expected)
    close(generative.gan_generator(FAKE, form), sum(map(generator, fake)) / 3)
    slopes_agree(lambda r, f: generative.gan_discriminator(r, f, form), REAL, FAKE)
    slopes_agree(lambda f: generative.gan_generator(f, form), FAKE)


def test_minimax_is_what_the_discriminator_gains() -> None:
    expected = -sum(softplus(f) for f in FAKE.flatten().tolist()) / 3
    close(generative.gan_generator(FAKE, "bce", minimax=True), expected)


@pytest.mark.parametrize("form", ["bce", "hinge", "lsgan", "wgan"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
def test_games_are_finite_at_extremes_and_without_samples(form: Any, dtype: torch.dtype) -> None:
    far, empty = torch.tensor([1e4, -1e4, 1.0, -1.0], dtype=dtype), torch.empty(0, dtype=dtype)
    finite(lambda r, f: generative.gan_discriminator(r, f, form), far, -far)
    finite(lambda f: generative.gan_generator(f, form), far)
    finite(lambda f: generative.gan_generator(f, form, minimax=True), far)
    assert finite(lambda r, f: generative.gan_discriminator(r, f, form), empty, empty)[0] == 0
    assert finite(lambda f: generative.gan_generator(f, form), empty)[0] == 0


def test_the_critic_of_means_alone_runs_away() -> None:
    """A WGAN loss falls without end as the critic's scale grows."""
    real, fake = REAL.detach() + 9, FAKE.detach()
    small, large = (
        generative.gan_discriminator(scale * real, scale * fake, "wgan").item()
        for scale in (1, 1e3)
    )
    assert large == pytest.approx(1e3 * small)
    assert large < small < 0


def test_gradient_penalty_of_a_known_gradient() -> None:
    factor = torch.tensor([3.0, 4.0, 0.0], dtype=torch.float64, requires_grad=True)
    real, fake = numbers(4, 3), numbers(4, 3, seed=1)

    def penalty(factor: Tensor) -> Tensor:
        return generative.gradient_penalty(lambda x: x @ factor, real, fake, shares(4))

    close(penalty(factor), 10 * (5 - 1) ** 2)
    slopes_agree(penalty, factor)


def test_gradient_penalty_lies_between_real_and_made_samples() -> None:
    seen: list[Tensor] = []

    def critic(x: Tensor) -> Tensor:
        seen.append(x.detach())
        return (x**2).flatten(1).sum(1) / 2

    real, fake, share = numbers(2, 1, 2, 2), numbers(2, 1, 2, 2, seed=1), torch.tensor([0.25, 1.0])
    penalty = generative.gradient_penalty(critic, real, fake, share.double(), weight=2.0)
    expected = torch.stack([0.25 * real[0] + 0.75 * fake[0], real[1]]).detach()
    close(seen[0], expected)
    close(penalty, 2 * ((expected.flatten(1).norm(dim=1) - 1) ** 2).mean())


def test_gradient_penalty_is_finite_at_a_gradient_of_zero() -> None:
    critic = nn.Linear(3, 1)
    nn.init.zeros_(critic.weight)
    real, fake = torch.randn(4, 3), torch.randn(4, 3)
    with torch.no_grad():
        assert generative.gradient_penalty(critic, real, fake, torch.rand(4)).item() == 10
    penalty = generative.gradient_penalty(critic, real, fake, torch.rand(4))
    (gradient,) = torch.autograd.grad(penalty, critic.weight)
    assert not gradient.any()
    blind = generative.gradient_penalty(lambda x: torch.zeros(4), real, fake, torch.rand(4))
    assert blind.item() == 10


def test_gaussian_kl_is_the_divergence_from_the_normal() -> None:
    mu, logvar = numbers(4, 3), numbers(4, 3, seed=1)
    ours = torch.distributions.Normal(mu.detach(), torch.exp(logvar.detach() / 2))
    normal = torch.distributions.Normal(torch.zeros(4, 3).double(), torch.ones(4, 3).double())
    close(generative.gaussian_kl(mu, logvar), torch.distributions.kl_divergence(ours, normal))
    slopes_agree(generative.gaussian_kl, mu, logvar)


def test_log_variances_are_held_wide() -> None:
    logvar = torch.tensor([-1e4, -60.0, -59.0, 29.0, 30.0, 1e4])
    value, _ = finite(generative.gaussian_kl, torch.zeros(6), logvar)
    expected = [(math.exp(v) - 1 - v) / 2 for v in (-60, -60, -59, 29, 30, 30)]
    close(value, expected, rtol=1e-6)


def test_gaussian_kl_keeps_its_digits_near_the_prior() -> None:
    value = generative.gaussian_kl(torch.zeros(1), torch.tensor([1e-3]))
    close(value, [1e-6 / 4], rtol=1e-2)


@pytest.mark.parametrize("form", ["bce_logits", "bce", "mse", "gaussian"])
def test_vae_adds_up_dimensions(form: Any) -> None:
    recon, target = numbers(4, 2, 3), shares(4, 2, 3)
    if form == "bce":
        recon = shares(4, 2, 3, seed=9).requires_grad_()
    mu, logvar = numbers(4, 5, seed=3), numbers(4, 5, seed=4)
    p = (recon if form == "bce" else recon.sigmoid()).detach()
    error = (recon - target).detach()
    by_element = {
        "mse": error**2,
        "gaussian": torch.from_numpy(-norm.logpdf(error.numpy())),
    }.get(form, -(target * p.log() + (1 - target) * (1 - p).log()))
    divergence = generative.gaussian_kl(mu, logvar).sum(1).detach()
    expected = by_element.sum((1, 2)) + 0.5 * divergence

    def loss(recon: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
        return generative.vae(recon, target, mu, logvar, form=form, beta=0.5)

    close(loss(recon, mu, logvar), expected)
    slopes_agree(loss, recon, mu, logvar)


def test_vae_is_finite_at_extremes_and_without_samples() -> None:
    far, target = torch.tensor([[1e4, -1e4], [-1e4, 1e4]]), torch.tensor([[0.0, 1], [0, 0.5]])
    finite(lambda r, m, v: generative.vae(r, target, m, v), far, far, far)
    edge = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    finite(lambda r, m, v: generative.vae(r, target, m, v, form="bce"), edge, far, far)
    empty = torch.empty(0, 2)
    finite(lambda r, m, v: generative.vae(r, empty, m, v), empty, empty, empty)
