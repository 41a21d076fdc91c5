"""Losses of images (N, C, H, W)."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def ssim(
    pred: Tensor,
    target: Tensor,
    *,
    window_size: int = 11,
    sigma: float = 1.5,
    data_range: float = 1.0,
    k1: float = 0.01,
    k2: float = 0.03,
) -> Tensor:
    """1 - mean SSIM, a value a sample.

    Args:
        pred: Images (N, C, H, W).
        target: Images of the same shape.
        window_size: Side of the Gaussian window. Only windows that lie inside count.
        sigma: Its standard deviation, in pixels.
        data_range: The largest difference that two pixels can have.
        k1: Steadies the comparison of means.
        k2: Steadies the comparison of variances.

    Returns:
        A value a sample (N,).

    Raises:
        ValueError: The images are smaller than the window.

    Reference: Wang et al. 2004, https://doi.org/10.1109/TIP.2003.819861
    """
    require_window(pred, window_size)
    # Variances are differences of means of squares: about a middle near 0 few digits cancel.
    middle = target.detach().mean((2, 3), keepdim=True)
    x, y = pred - middle, target - middle
    moments = _blur(torch.cat([x, y, x * x, y * y, x * y]), window_size, sigma)
    mean_x, mean_y, xx, yy, xy = moments.chunk(5)
    spread = xx - mean_x.square() + yy - mean_y.square()
    together = xy - mean_x * mean_y
    mean_x, mean_y = mean_x + middle, mean_y + middle
    c1, c2 = (k1 * data_range) ** 2, (k2 * data_range) ** 2
    likeness = (2 * mean_x * mean_y + c1) * (2 * together + c2)
    likeness = likeness / ((mean_x.square() + mean_y.square() + c1) * (spread + c2))
    return 1 - likeness.mean((1, 2, 3))


def require_window(images: Tensor, window_size: int) -> None:
    """Refuse images (N, C, H, W) that are smaller than the window.

    Raises:
        ValueError: Naming both sizes.
    """
    if min(images.shape[2:]) < window_size:
        raise ValueError(
            f"window_size must be at most the images' {tuple(images.shape[2:])}, "
            f"but got {window_size}"
        )


def _blur(images: Tensor, size: int, sigma: float) -> Tensor:
    steps = torch.arange(size, dtype=torch.float64, device=images.device) - (size - 1) / 2
    window = torch.exp(-steps.square() / (2 * sigma**2))
    window = (window / window.sum()).to(images)
    # A Gaussian is the product of its rows and columns: 2 · size products a pixel, not size².
    flat = images.flatten(0, 1)[:, None]
    flat = F.conv2d(F.conv2d(flat, window[None, None, :, None]), window[None, None, None])
    return flat.reshape(*images.shape[:2], *flat.shape[2:])


def total_variation(pred: Tensor) -> tuple[Tensor, Tensor]:
    """|dy| and |dx|, each between neighbours: (N, C, H-1, W) and (N, C, H, W-1).

    The loss is the sum of their means, or of their sums.

    Args:
        pred: Images (N, C, H, W).

    Returns:
        Both, (N, C, H-1, W) and (N, C, H, W-1).

    Reference: Rudin et al. 1992, https://doi.org/10.1016/0167-2789(92)90242-F
    """
    return pred.diff(dim=2).abs(), pred.diff(dim=3).abs()


def perceptual(
    pred: Sequence[Tensor], target: Sequence[Tensor], layer_weights: Sequence[float] | Tensor
) -> Tensor:
    """Σ_l w_l MSE of a network's features, a value a sample.

    Args:
        pred: The features (N, …) of the predicted images, a tensor a layer.
        target: The features of the true images, of the same shapes.
        layer_weights: A weight a layer (L,); may be learned.

    Returns:
        A value a sample (N,).

    Raises:
        ValueError: There are not as many weights as layers.

    Reference: Johnson et al. 2016, https://arxiv.org/abs/1603.08155
    """
    if len(layer_weights) != len(pred):
        raise ValueError(
            f"layer_weights must have one value per layer, {len(pred)}, but got "
            f"{len(layer_weights)}"
        )
    parts = zip(layer_weights, pred, target, strict=True)
    values = [weight * (p - t).square().flatten(1).mean(1) for weight, p, t in parts]
    return torch.stack(values).sum(0)
