"""A frozen network, and the layers whose outputs are wanted of it."""

import hashlib
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from talweg.worker.errors import UserSpecError


class FeatureNetwork(nn.Module):
    """A frozen network, and the layers whose outputs are wanted of it."""

    mean: Tensor
    """What is taken off the images: one number, or one a channel."""
    sd: Tensor
    """What they are divided by then, of the same shape."""

    def __init__(
        self,
        network: nn.Module,
        modules: Sequence[str],
        *,
        mean: Tensor,
        sd: Tensor,
        shape: tuple[int, ...],
        smallest: int | None = None,
    ) -> None:
        """Freeze a network.

        Args:
            network: Takes standardised images.
            modules: The paths of the modules whose outputs are wanted.
            mean: Of the images (1, C or 1, 1, 1).
            sd: Of the same shape.
            shape: One image's shape (C, H, W).
            smallest: The smallest H and W, where any above them will do; None where only the
                network itself tells which it takes.
        """
        super().__init__()
        self.network = network.requires_grad_(False)
        self.modules_wanted = tuple(modules)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("sd", sd, persistent=False)
        self._shape, self._smallest = shape, smallest
        self._taken: set[tuple[int, ...]] = set()
        self.train(False)

    def train(self, _mode: bool = True) -> "FeatureNetwork":
        """Stay in evaluation mode, whatever is asked for."""
        super().train(False)
        return self

    @property
    def digest(self) -> str:
        """A sha256 of all that decides the features."""
        digest = hashlib.sha256()
        named = {**self.network.state_dict(), "mean": self.mean, "sd": self.sd}
        for name, tensor in sorted(named.items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def require_images(self, name: str, images: Tensor) -> None:
        """Refuse images (N, C, H, W) that the network cannot take.

        Raises:
            ValueError: Naming both shapes.
        """
        shape = tuple(images.shape[1:])
        if shape in self._taken:
            return
        if shape[0] == self._shape[0] and self._takes(shape):
            self._taken.add(shape)
            return
        raise ValueError(f"{name} must be images of {self._allowed()}, but got {shape}")

    def _takes(self, shape: tuple[int, ...]) -> bool:
        if self._smallest is not None:
            return min(shape[1:]) >= self._smallest
        try:
            self(self.mean.new_zeros(1, *shape, dtype=torch.float32))
        except (RuntimeError, ValueError):
            return False
        return True

    def _allowed(self) -> str:
        channels, *sides = self._shape
        many = f"{channels} channel{'s' * (channels != 1)}"
        if self._smallest is None:
            twice = (channels, *(2 * side for side in sides))
            if not self._takes(twice):
                return f"the model's shape {self._shape}"
            squares = ((channels, side, side) for side in range(1, max(sides) + 1))
            least = next((shape[1] for shape in squares if self._takes(shape)), max(sides))
        else:
            least = self._smallest
        return f"{many} and at least {least} by {least} pixels for these layers"

    def forward(self, images: Tensor) -> list[Tensor]:
        """Give the wanted outputs of one pass, in the order in which they were asked for.

        Raises:
            ValueError: One of them is no tensor with a value a sample.
        """
        own = (*self.network.parameters(), *self.network.buffers())
        if any(t.is_floating_point() and t.dtype is not images.dtype for t in own):
            self.network.to(images.dtype)
        outputs: dict[str, object] = {}

        def keep(name: str) -> None:
            def hook(_module: nn.Module, _inputs: object, output: object) -> None:
                outputs[name] = output

            handles.append(self.network.get_submodule(name).register_forward_hook(hook))

        handles: list[torch.utils.hooks.RemovableHandle] = []
        try:
            for name in self.modules_wanted:
                keep(name)
            self.network((images - self.mean.to(images)) / self.sd.to(images))
        finally:
            for handle in handles:
                handle.remove()
        features = []
        for name in self.modules_wanted:
            output = outputs.get(name)
            if not isinstance(output, Tensor) or output.shape[:1] != images.shape[:1]:
                raise ValueError(f"layer {name} gives no tensor of an image's features")
            features.append(output)
        return features


def require_layers(layers: Sequence[str], known: Sequence[str] | Mapping[str, int]) -> None:
    """Refuse layers that are none of a network's.

    Raises:
        UserSpecError: One is not.
    """
    for layer in layers:
        if layer not in known:
            raise UserSpecError(f"layers must be among {', '.join(known)}, but got {layer}")
