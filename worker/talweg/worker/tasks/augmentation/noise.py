"""Noise, drawn on the CPU or from the device's own state."""

from collections.abc import Callable

import torch
from torch import Tensor


def draw(
    how: Callable[..., Tensor],
    shape: torch.Size,
    device: torch.device,
    generator: torch.Generator | None,
) -> Tensor:
    """Draw numbers from torch's state of the device, or from a generator of the CPU.

    Args:
        how: torch.rand or torch.randn.
        shape: How many.
        device: Where they are needed.
        generator: On the CPU; None draws from torch's own random state.
    """
    if generator is None:
        return how(shape, device=device)
    return how(shape, generator=generator).to(device)
