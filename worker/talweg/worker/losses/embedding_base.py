"""What the families share whose inputs are vectors, or whose formulas pool a batch."""

from collections.abc import Callable, Mapping

from google.protobuf.message import Message
from torch import Tensor

from talweg.worker.losses import checks
from talweg.worker.losses.base import LossModule, same_precision
from talweg.worker.losses.functional import _safe


def choice_of(spec: Message, name: str) -> str:
    """Return the name of what a filled message chooses in an enum field, such as "euclidean"."""
    enum = spec.DESCRIPTOR.fields_by_name[name].enum_type
    assert enum is not None
    return enum.values_by_number[getattr(spec, name)].name


def ignore_index_of(spec: Message) -> int | None:
    """Return the target that counts for nothing by a filled message, or none."""
    return spec.ignore_index if spec.HasField("ignore_index") else None  # type: ignore[attr-defined]


def take_alike(
    inputs: Mapping[str, Tensor], names: tuple[str, ...], dimensions: str = "(N, D)"
) -> tuple[Tensor, ...]:
    """Tensors of real numbers and of one shape, brought to one precision.

    Args:
        inputs: The inputs, which may hold others besides.
        names: Those that are taken.
        dimensions: What they must have, such as "(N, D)"; "" for any.

    Raises:
        ValueError: A dtype or shape is wrong.
    """
    first = inputs[names[0]]
    for name in names:
        checks.require_floats(name, inputs[name])
    if dimensions:
        checks.require_dimensions(names[0], first, dimensions)
    for name in names[1:]:
        checks.require_shape(name, inputs[name], first.shape, f"the shape of {names[0]}")
    return same_precision(*(inputs[name] for name in names))


def take_labelled(inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """embeddings (N, D) in float32 or float64, and labels (N,).

    Raises:
        ValueError: A dtype or shape is wrong.
    """
    (embeddings,) = take_alike(inputs, ("embeddings",))
    labels = inputs["labels"]
    checks.require_labels("labels", labels, len(embeddings))
    return embeddings, labels.long()


class Pooled(LossModule):
    """A loss whose formula gives one number a batch, and no values by sample."""

    _pooled: Callable[..., Tensor]
    """The mathematics: the tensors that `_take` gives, in that order, to a scalar."""

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the loss; see `LossModule.forward`."""
        return self._pooled(*self._take(inputs))

    def values(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Refuse: there are none.

        Raises:
            ValueError: Always.
        """
        self._take(inputs)
        raise ValueError("the loss pools its batch: it has no values by sample")


class Single(Pooled):
    """A pooled loss whose one number no reduction changes, so that it adds up over nothing."""

    @property
    def sums(self) -> bool:
        """Never: several batches have a mean."""
        return False


class Counted(LossModule):
    """A loss whose mean is over some of its values; the others are 0."""

    _counted: Callable[..., tuple[Tensor, Tensor]]
    """The mathematics: tensors to values, and whether each counts."""

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the reduced loss; see `LossModule.forward`."""
        values, counts = self._counted(*self._take(inputs))
        if self.reduction == "mean":
            return _safe.masked_mean(values, counts)
        return self._reduce(values.where(counts, 0))

    def _values(self, *tensors: Tensor) -> Tensor:
        values, counts = self._counted(*tensors)
        return values.where(counts, 0)

    def _weight(self, *tensors: Tensor) -> Tensor:
        return self._counted(*tensors)[1].sum()
