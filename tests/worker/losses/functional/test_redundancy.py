"""vicreg and barlow_twins against numpy."""

import numpy as np
import pytest
import torch
from tests.worker.losses.functional.helpers import close, finite, numbers, slopes_agree
from torch import Tensor

from talweg.worker.losses.functional.embedding.redundancy import barlow_twins, vicreg

Z1, Z2 = numbers(8, 3), numbers(8, 3, seed=1, scale=0.4)


def test_vicreg_by_its_definition() -> None:
    expected = 7.0 * ((Z1 - Z2) ** 2).mean().item()
    for z in (Z1.detach().numpy(), Z2.detach().numpy()):
        variance = z.var(0, ddof=1)
        spread = np.maximum(0, 1 - np.sqrt(variance + 1e-4)).mean()
        covariance = np.cov(z, rowvar=False)
        off = covariance - np.diag(np.diag(covariance))
        expected += 11.0 * spread / 2 + 3.0 * (off**2).sum() / 3
    close(vicreg(Z1, Z2, sim=7.0, std=11.0, cov=3.0), expected)
    slopes_agree(vicreg, Z1, Z2)


def test_barlow_twins_by_its_definition() -> None:
    views = (z.detach().numpy() for z in (Z1, Z2))
    one, other = ((z - z.mean(0)) / np.sqrt(z.var(0) + 1e-5) for z in views)
    expected = 0.0
    for i in range(3):
        for j in range(3):
            correlation = (one[:, i] * other[:, j]).mean()
            expected += (correlation - 1) ** 2 if i == j else 0.02 * correlation**2
    close(barlow_twins(Z1, Z2, lambda_offdiag=0.02), expected)
    slopes_agree(barlow_twins, Z1, Z2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize(
    "z", [torch.zeros(4, 3), torch.ones(4, 3), 100 * torch.eye(4, 3), torch.ones(4, 1)]
)
def test_collapsed_and_far_vectors_are_finite(z: Tensor, dtype: torch.dtype) -> None:
    finite(vicreg, z.to(dtype), z.to(dtype))
    finite(barlow_twins, z.to(dtype), z.to(dtype))


def test_far_vectors_are_finite() -> None:
    z = 1e4 * torch.eye(4, 3)
    finite(vicreg, z, -z)
    finite(barlow_twins, z, -z)


def test_a_single_sample_and_none_are_no_trouble() -> None:
    value, _ = finite(vicreg, torch.ones(1, 3), torch.ones(1, 3))
    close(value, 25 * 0.99)
    value, _ = finite(vicreg, torch.empty(0, 3), torch.empty(0, 3))
    assert value == 0
