"""What a training trains: a network, beside a loss that has weights of its own."""

from torch import Tensor, nn


class WithLoss(nn.Module):
    """All that is trained: the network's modules under their own names, and ``loss``.

    Run, it is the network alone.
    """

    def __init__(self, network: nn.Sequential, loss: nn.Module) -> None:
        """Put a loss beside a network."""
        super().__init__()
        self._layers = tuple(network.children())
        for name, layer in network.named_children():
            self.add_module(name, layer)
        self.loss = loss

    def forward(self, x: Tensor) -> Tensor:
        """Run the network."""
        for layer in self._layers:
            x = layer(x)
        return x


def trainable(network: nn.Sequential, loss: nn.Module) -> nn.Module:
    """Return the network, beside the loss where that has weights of its own."""
    if next(loss.parameters(), None) is None:
        return network
    return WithLoss(network, loss)
