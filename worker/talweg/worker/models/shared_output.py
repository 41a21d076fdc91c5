"""One score for several binary outputs, as ordered ranks need it."""

import torch
from torch import Tensor, nn


class SharedLinear(nn.Module):
    """A linear layer whose outputs have the same weights and differ by their constants alone.

    Takes (N, in_features) and gives (N, out_features), whose order is the same for every sample.

    Reference: Cao, Mirjalili and Raschka 2020 (CORAL), https://arxiv.org/abs/1901.07884
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        """Make a layer from features (N, in_features) to outputs (N, out_features)."""
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(in_features))
        self.bias = nn.Parameter(torch.zeros(out_features))

    def forward(self, features: Tensor) -> Tensor:
        """Return the score beside each constant."""
        # Autocast leaves this product alone on a CPU, and takes no two types.
        return torch.mv(features, self.weight.to(features.dtype))[:, None] + self.bias


def share_answers(network: nn.Sequential) -> None:
    """Put a `SharedLinear` in the place of a network's last layer, where that is linear.

    It begins with the weights of the first output.
    """
    last = network[-1]
    if isinstance(last, nn.Linear):
        shared = SharedLinear(last.in_features, last.out_features).to(last.weight.device)
        with torch.no_grad():
            shared.weight.copy_(last.weight[0])
        network[-1] = shared
