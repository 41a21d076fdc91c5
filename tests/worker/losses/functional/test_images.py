"""ssim, total_variation and perceptual."""

import numpy as np
import pytest
import torch
from tests.worker.losses.functional.helpers import close, finite, numbers, shares, slopes_agree
from torch import Tensor
from torch.nn import functional as F

from talweg.worker.losses.functional.images import perceptual, ssim, total_variation


def by_windows(a: np.ndarray, b: np.ndarray, size: int, sigma: float, data_range: float) -> float:
    """1 - mean SSIM, window by window."""
    steps = np.arange(size) - (size - 1) / 2
    window = np.exp(-(steps[:, None] ** 2 + steps**2) / (2 * sigma**2))
    window /= window.sum()
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    found = []
    for channel in range(a.shape[0]):
        for y in range(a.shape[1] - size + 1):
            for x in range(a.shape[2] - size + 1):
                p, t = (i[channel, y : y + size, x : x + size] for i in (a, b))
                mp, mt = (window * p).sum(), (window * t).sum()
                vp, vt = (window * (p - mp) ** 2).sum(), (window * (t - mt) ** 2).sum()
                both = (window * (p - mp) * (t - mt)).sum()
                found.append(
                    (2 * mp * mt + c1) * (2 * both + c2) / ((mp**2 + mt**2 + c1) * (vp + vt + c2))
                )
    return 1 - float(np.mean(found))


@pytest.mark.parametrize(
    ("size", "sigma", "data_range"), [(11, 1.5, 1.0), (4, 0.8, 2.0), (3, 1.5, 255.0)]
)
def test_ssim_window_by_window(size: int, sigma: float, data_range: float) -> None:
    pred, target = shares(2, 2, 12, 13) * data_range, shares(2, 2, 12, 13, seed=5) * data_range
    expected = [
        by_windows(p, t, size, sigma, data_range)
        for p, t in zip(pred.numpy(), target.numpy(), strict=True)
    ]

    def loss(pred: Tensor) -> Tensor:
        return ssim(pred, target, window_size=size, sigma=sigma, data_range=data_range)

    close(loss(pred), expected, rtol=1e-9)
    if size == 4:
        slopes_agree(loss, pred[:1, :, :5, :5].repeat(2, 1, 3, 3)[:, :, :12, :13].requires_grad_())


def test_equal_images_cost_nothing_and_flat_ones_are_finite() -> None:
    image = shares(1, 3, 16, 16).float()
    value, (gradient, _) = finite(ssim, image, image)
    assert value.item() == pytest.approx(0, abs=1e-6)
    assert gradient.abs().max() < 1e-4
    flat = torch.zeros(1, 1, 11, 11)
    finite(ssim, flat, flat)
    finite(ssim, flat + 1e4, flat - 1e4)


def test_small_floats_keep_the_variance_of_bright_images() -> None:
    pred, target = shares(1, 1, 16, 16) * 0.01 + 200, shares(1, 1, 16, 16, seed=7) * 0.01 + 200
    exact = ssim(pred, target, data_range=0.01)
    close(ssim(pred.float(), target.float(), data_range=0.01), exact, rtol=1e-2)


def test_images_smaller_than_the_window_are_refused() -> None:
    with pytest.raises(ValueError, match=r"window_size must be at most .*\(8, 20\), but got 11"):
        ssim(torch.zeros(1, 1, 8, 20), torch.zeros(1, 1, 8, 20))


def test_total_variation_between_neighbours() -> None:
    image = numbers(2, 3, 4, 5)
    down, right = total_variation(image)
    a = image.detach().numpy()
    close(down, np.abs(a[:, :, 1:] - a[:, :, :-1]))
    close(right, np.abs(a[:, :, :, 1:] - a[:, :, :, :-1]))
    slopes_agree(lambda x: torch.stack([part.mean() for part in total_variation(x)]).sum(), image)
    _, (gradient,) = finite(lambda x: total_variation(x)[0], torch.ones(1, 1, 2, 2))
    assert not gradient.any()
    assert total_variation(torch.ones(1, 1, 1, 1))[0].numel() == 0


def test_perceptual_weighs_layers() -> None:
    pred = [numbers(2, 3, 4), numbers(2, 5)]
    target = [numbers(2, 3, 4, seed=1).detach(), numbers(2, 5, seed=1).detach()]
    weights = torch.tensor([0.3, 2.0], dtype=torch.float64, requires_grad=True)
    parts = [F.mse_loss(p, t).item() for p, t in zip(pred, target, strict=True)]
    close(perceptual(pred, target, [0.3, 2.0]).mean(), 0.3 * parts[0] + 2 * parts[1])
    assert perceptual(pred, target, [0.3, 2.0]).shape == (2,)
    slopes_agree(lambda w, a, b: perceptual([a, b], target, w), weights, *pred)
    with pytest.raises(ValueError, match="one value per layer, 2, but got 1"):
        perceptual(pred, target, [1.0])
