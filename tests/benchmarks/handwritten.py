"""The baseline of the loop's benchmark: the same job as a hand-written PyTorch loop.

As a careful person writes it: fused optimizer, gradients set to None, slices of a permuted tensor,
one thread, nothing logged and nothing checked.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn


def train(
    model: nn.Module,
    loss: Callable[[Tensor, Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
) -> None:
    """Train a model in place.

    Args:
        model: The network.
        loss: Of outputs and targets, a scalar.
        x: Inputs (N, …).
        y: Targets (N, …).
        steps: Optimizer steps.
        batch_size: Samples in a batch.
        learning_rate: AdamW's.
        seed: Decides the order of the batches.
    """
    torch.set_num_threads(1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, fused=True)
    generator = torch.Generator().manual_seed(seed)
    step = 0
    while step < steps:
        order = torch.randperm(len(x), generator=generator)
        x_epoch, y_epoch = x[order], y[order]
        for start in range(0, len(x), batch_size):
            batch = slice(start, start + batch_size)
            optimizer.zero_grad(set_to_none=True)
            loss(model(x_epoch[batch]), y_epoch[batch]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            step += 1
            if step == steps:
                return
