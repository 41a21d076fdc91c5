"""Networks that a loss compares by and that nobody trains: known again by their digests."""

from collections.abc import Mapping

from torch import Tensor

from talweg.worker.losses import LossModule, frozen_digests
from talweg.worker.training.state.snapshot import Values


class Frozen:
    """A run goes on only beside the networks that it began with; see `Stateful`."""

    def __init__(self, criterion: LossModule) -> None:
        """Take the loss."""
        self._digests = frozen_digests(criterion)

    def __bool__(self) -> bool:
        """Return whether there are any."""
        return bool(self._digests)

    def tensors(self) -> Mapping[str, Tensor]:
        """Return none: a checkpoint does not hold them."""
        return {}

    def values(self) -> Values:
        """Return the digests by where the networks stand in the spec."""
        return self._digests

    def restore(self, tensors: Mapping[str, Tensor], values: Values) -> None:
        """Compare.

        Raises:
            ValueError: One of them is another now.
        """
        for name, digest in self._digests.items():
            if values.get(name) != digest:
                raise ValueError(
                    f"{name} must be {values.get(name)}, as when the job started, but is "
                    f"{digest}: the network's file on the worker has changed"
                )
