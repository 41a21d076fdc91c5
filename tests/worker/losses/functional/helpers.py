"""What the tests of the plain functions share."""

from collections.abc import Callable

import torch
from torch import Tensor

_SMALL = (torch.float16, torch.bfloat16)


def numbers(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    """Normal float64 numbers that want a gradient."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(*shape, generator=generator, dtype=torch.float64) * scale
    return x.requires_grad_()


def classes(number: int, *shape: int, seed: int = 1) -> Tensor:
    """Class indices below a number."""
    return torch.randint(0, number, shape, generator=torch.Generator().manual_seed(seed))


def shares(*shape: int, seed: int = 2) -> Tensor:
    """Even float64 numbers in [0, 1)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, generator=generator, dtype=torch.float64)


def close(given: Tensor, expected: object, rtol: float = 1e-11, atol: float = 1e-12) -> None:
    """Compare with numbers computed otherwise."""
    wanted = torch.as_tensor(expected, dtype=given.dtype)
    torch.testing.assert_close(given.detach(), wanted, rtol=rtol, atol=atol)


def slopes_agree(function: Callable[..., Tensor], *inputs: Tensor) -> None:
    """Hold the gradient against differences of the value."""
    given = [x.detach().clone().requires_grad_(x.requires_grad) for x in inputs]
    assert torch.autograd.gradcheck(function, given)


def finite(function: Callable[..., Tensor], *inputs: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Return the value and gradients, which must be finite. Small floats go in as float32.

    Args:
        function: Of the inputs; its result is added up.
        inputs: Tensors; those of floating point want a gradient.
    """
    given = [x.detach().clone().requires_grad_() if x.is_floating_point() else x for x in inputs]
    value = function(*(x.float() if x.dtype in _SMALL else x for x in given))
    assert torch.isfinite(value).all()
    wanting = [x for x in given if x.requires_grad]
    gradients = torch.autograd.grad(value.sum(), wanting, allow_unused=True)
    found = [torch.zeros(()) if g is None else g for g in gradients]
    for gradient in found:
        assert torch.isfinite(gradient).all()
    return value, found
