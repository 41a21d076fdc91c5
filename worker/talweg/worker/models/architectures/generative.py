"""Networks that make samples: a variational autoencoder, and a generator with its critic."""

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from talweg.v1 import models_pb2 as messages
from talweg.worker.clamping import clamp
from talweg.worker.models.layers import Shape

Nonlinearities = dict[int, Callable[[], nn.Module]]


class VariationalAutoencoder(nn.Module):
    """An encoder to mean and log variance of a code, and a decoder back.

    Called, it gives the reconstruction (N, *shape), the mean (N, D) and the log variance (N, D).
    In training the code is drawn from them; in evaluation it is the mean.

    Reference: Kingma and Welling 2014, https://arxiv.org/abs/1312.6114
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, *, shape: Shape, code: int) -> None:
        """Join an encoder to (N, 2·code) and a decoder from (N, code) to a sample's numbers."""
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.code = code
        """Numbers of the code D."""
        self._shape = shape

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Encode samples (N, *shape) and decode them again."""
        mu, logvar = self.encode(x)
        drawn = draw(mu, logvar, torch.randn_like(mu)) if self.training else mu
        return self.decode(drawn), mu, logvar

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance of the codes of samples."""
        mu, logvar = self.encoder(x.flatten(1)).chunk(2, dim=1)
        return mu, logvar

    def decode(self, code: Tensor) -> Tensor:
        """Return samples of codes (N, D)."""
        sample: Tensor = self.decoder(code).unflatten(1, self._shape)
        return sample


def draw(mu: Tensor, logvar: Tensor, noise: Tensor) -> Tensor:
    """Return codes: the mean and as many standard deviations beside it as the noise says."""
    # As the divergence holds it, so that a wild variance stays finite.
    return mu + noise * (clamp(logvar, -60, 30) / 2).exp()


class GeneratorAndCritic(nn.Module):
    """A generator of samples and a critic of them.

    Called, it turns noise (N, noise) into samples (N, *shape); `score` gives (N, 1).

    Reference: Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661
    """

    def __init__(
        self, generator: nn.Module, critic: nn.Module, *, shape: Shape, noise: int
    ) -> None:
        """Join a generator from (N, noise) to a sample's numbers and a critic of them."""
        super().__init__()
        self.generator = generator
        self.critic = critic
        self.noise = noise
        """Numbers that a sample is made of."""
        self._shape = shape

    def forward(self, noise: Tensor) -> Tensor:
        """Make samples (N, *shape) of noise (N, noise)."""
        sample: Tensor = self.generator(noise).unflatten(1, self._shape)
        return sample

    def score(self, x: Tensor) -> Tensor:
        """Score samples (N, *shape): higher for what seems real (N, 1)."""
        score: Tensor = self.critic(x.flatten(1))
        return score


def autoencoder(
    model: messages.Autoencoder, shape: Shape, nonlinearities: Nonlinearities
) -> OrderedDict[str, nn.Module]:
    """Build a filled message's network for samples of a shape."""
    numbers, hidden = math.prod(shape), list(model.hidden)
    made = nonlinearities[model.nonlinearity]
    encoder = perceptron([numbers, *hidden, 2 * model.code], made)
    decoder = perceptron([model.code, *reversed(hidden), numbers], made)
    network = VariationalAutoencoder(encoder, decoder, shape=shape, code=model.code)
    return OrderedDict(autoencoder=network)


def adversarial(
    model: messages.Adversarial, shape: Shape, nonlinearities: Nonlinearities
) -> OrderedDict[str, nn.Module]:
    """Build a filled message's network for samples of a shape."""
    numbers, made = math.prod(shape), nonlinearities[model.nonlinearity]
    generator = perceptron([model.noise, *model.generator, numbers], made)
    critic = perceptron([numbers, *model.critic, 1], made)
    network = GeneratorAndCritic(generator, critic, shape=shape, noise=model.noise)
    return OrderedDict(adversarial=network)


def perceptron(sizes: Sequence[int], nonlinearity: Callable[[], nn.Module]) -> nn.Sequential:
    """Return linear layers between sizes, a nonlinearity after each but the last."""
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), nonlinearity()]
    return nn.Sequential(*layers[:-1])
