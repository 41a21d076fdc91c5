"""What every loss shares: checked inputs, precision, reduction.

A subclass says which inputs it takes (`_take`) and writes its mathematics (`_values`); most get
the former from one of the families here. Shapes and dtypes are checked on every call, since that
costs a microsecond or two. What the tensors hold is checked by `check_values` alone: `evaluate`
always calls it, the training code once on all targets before the first step.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from google.protobuf.message import Message
from torch import Tensor, nn

from talweg.v1 import losses_pb2 as pb
from talweg.worker.losses import checks

_PRECISE = (torch.float32, torch.float64)

Factors = Sequence[float | Tensor]
"""What each summand of a loss is multiplied by; none where that is 1."""


def reduction_of(spec: Message) -> str:
    """Return the name of a filled loss message's reduction, such as "mean"."""
    enum = spec.DESCRIPTOR.fields_by_name["reduction"].enum_type
    assert enum is not None
    return enum.values_by_number[getattr(spec, "reduction")].name  # noqa: B009 - every loss has it


def floats(values: Iterable[float]) -> Tensor | None:
    """Numbers as a buffer, or none; float64, so that a float64 loss loses nothing."""
    numbers = list(values)
    return torch.tensor(numbers, dtype=torch.float64) if numbers else None


def weights_tensor(spec: Message, name: str) -> Tensor | None:
    """Return the class weights that a filled message gives under a name, as a buffer, or none.

    Raises:
        ValueError: They are to be found from a training split, which is not here.
    """
    weights: pb.ClassWeights = getattr(spec, name)
    computed = weights.WhichOneof("computed")
    if computed:
        raise ValueError(
            f"{name} must be values where there is no training split to count the classes in, "
            f"but got {computed}"
        )
    return floats(weights.values)


def same_precision(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Bring tensors to one floating dtype: the widest among them, and float32 at the least."""
    dtype = tensors[0].dtype
    for tensor in tensors[1:]:
        if tensor.dtype is not dtype:
            dtype = torch.promote_types(dtype, tensor.dtype)
    if dtype not in _PRECISE:
        dtype = torch.float32
    return tuple(_widened(tensor, dtype) for tensor in tensors)


def _widened(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    wide = tensor.to(dtype)
    if tensor.dtype is torch.float16 and wide.requires_grad:
        wide.register_hook(_held_in_float16)  # type: ignore[no-untyped-call]
    return wide


def _held_in_float16(gradient: Tensor) -> Tensor:
    """Return float16's largest value in place of what would become infinite on the way back."""
    largest = torch.finfo(torch.float16).max
    return gradient.clamp(-largest, largest).where(gradient.isfinite(), gradient)


class Part(NamedTuple):
    """A summand of a batch's loss, of which those of all batches make up the whole loss's."""

    value: Tensor
    """What it is of this batch, before its factor."""
    weight: float | Tensor | None
    """What a mean divides by, 0 where nothing counts; None for a sum."""
    factor: float = 1.0
    """What it is multiplied by in the loss."""
    least: float = 0.0
    """A mean divides by this at least, and by 1 where it would divide by 0."""


class LossModule(nn.Module):
    """A loss over named tensors.

    Called with its inputs it gives the reduced loss: a scalar for mean and sum, the unreduced
    shape for none. float16 and bfloat16 are computed in float32 and give float32.
    """

    input_names: tuple[str, ...] = ("pred", "target")
    """The inputs that must be given."""
    optional_names: tuple[str, ...] = ()
    """The inputs that may be given besides."""
    weighs_last_dimension: bool = False
    """Whether it weighs the elements of the last dimension of pred, as its answers."""
    pools_batch: bool = False
    """Whether its value depends on which samples stand together in a batch."""
    num_classes: int | None = None
    """Classes, or ranks, of the job that the loss is part of; None where there is none."""
    reduction: str
    """How per-sample values become one: mean, sum, none, or what else the loss's message has."""

    _values: Callable[..., Tensor]
    """The mathematics: the tensors that `_take` gives, in that order, to unreduced values."""

    def __init__(self, reduction: str) -> None:
        """Make the loss.

        Args:
            reduction: How per-sample values become one.
        """
        super().__init__()
        self.reduction = reduction

    if TYPE_CHECKING:  # nn.Module's own annotation forgets the types.

        def __call__(  # noqa: D102
            self, inputs: Mapping[str, Tensor], factors: Factors = ()
        ) -> Tensor: ...

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the reduced loss.

        Args:
            inputs: The tensors by name, as `input_names` and the loss's docstring say.

        Returns:
            The loss, joined to its inputs.

        Raises:
            ValueError: A name, shape or dtype is wrong.
        """
        tensors = self._take(inputs)
        return self._reduce(self._values(*tensors), *tensors)

    def values(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the unreduced loss: one value an element, position or box, as the loss has them.

        Raises:
            ValueError: A name, shape or dtype is wrong.
        """
        return self._values(*self._take(inputs))

    def check_inputs(self, inputs: Mapping[str, Tensor]) -> None:
        """Refuse wrong names, shapes and dtypes, as every call does.

        Raises:
            ValueError: Naming what was found and what is allowed.
        """
        self._take(inputs)

    def check_values(self, inputs: Mapping[str, Tensor]) -> None:
        """Refuse what only the numbers themselves show, such as a class out of range.

        This reads every number once. Inputs may be left out and need not agree in their number of
        samples: the training code gives all targets beside the outputs of one batch.

        Raises:
            ValueError: Naming value and bound.
        """

    def divisor(self, target: Tensor) -> Tensor | None:
        """Return the divisor of the mean over these targets; None if that is the sample count.

        By it the means over parts of a batch make up the mean over the whole. It is None too where
        the targets alone do not tell.
        """
        return None

    @property
    def summands(self) -> tuple["LossModule", ...]:
        """The losses whose weighted values it adds up; none where it is one by itself.

        Where there are some, a call takes a factor for each of them beside the inputs.
        """
        return ()

    def parts(self, inputs: Mapping[str, Tensor]) -> list[Part]:
        """Return the loss as summands that can be put together with those of other batches.

        Raises:
            ValueError: A name, shape or dtype is wrong.
        """
        weight = None
        if not self.sums:
            tensors = self._take(inputs)
            # Batches that are pooled count by their samples: nothing makes one of them whole.
            of_batch = LossModule._weight if self.pools_batch else type(self)._weight
            weight = of_batch(self, *tensors)
        return [Part(self(inputs), weight, least=self._least_divisor)]

    @property
    def sums(self) -> bool:
        """Whether the losses of two batches add up to the loss of both."""
        return self.reduction == "sum"

    _least_divisor: float = 0.0

    def _weight(self, *tensors: Tensor) -> float | Tensor:
        """Return what the mean over these inputs divides by, up to a factor; 0 for nothing."""
        return len(tensors[0]) if tensors[0].dim() else 1

    def _take(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """Check names, shapes and dtypes; bring floats to one precision."""
        raise NotImplementedError

    def _reduce(self, values: Tensor, *tensors: Tensor) -> Tensor:
        if self.reduction == "mean":
            return self._mean(values, *tensors)
        return values.sum() if self.reduction == "sum" else values

    def _mean(self, values: Tensor, *tensors: Tensor) -> Tensor:
        # The mean of nothing is NaN in torch; an empty batch costs nothing here.
        return values.mean() if values.numel() else values.sum()


class Elementwise(LossModule):
    """A loss of pred (N, …) and target of the same shape, with one value an element."""

    _float_target = False

    def _take(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        try:
            pred, target = inputs["pred"], inputs["target"]
        except KeyError:
            checks.refuse_names(inputs, self.input_names)
        if len(inputs) != 2:
            checks.refuse_names(inputs, self.input_names)
        if pred.shape != target.shape:
            checks.require_shape("target", target, pred.shape, "the shape of pred")
        if pred.dtype is target.dtype and pred.dtype in _PRECISE:
            return pred, target
        checks.require_floats("pred", pred)
        if self._float_target or target.is_complex():
            checks.require_floats("target", target)
        return same_precision(pred, target)


class TorchElementwise(Elementwise):
    """An elementwise loss that torch has whole, reductions included: one kernel, not two."""

    _torch: Callable[[Tensor, Tensor, str], Tensor]

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the reduced loss; see `LossModule.forward`."""
        pred, target = self._take(inputs)
        empty = self.reduction == "mean" and not pred.numel()
        return self._torch(pred, target, "sum" if empty else self.reduction)

    def _values(self, pred: Tensor, target: Tensor) -> Tensor:
        return self._torch(pred, target, "none")


class YesOrNo(Elementwise):
    """A loss of one logit an element against a floating point target in [0, 1]."""

    _float_target = True

    def check_values(self, inputs: Mapping[str, Tensor]) -> None:
        """Refuse targets outside [0, 1]; see `LossModule.check_values`."""
        if "target" in inputs:
            checks.require_between("target", inputs["target"], 0, 1)


class Classes(LossModule):
    """A loss of logits pred (N, C, …) against class indices target (N, …), a value a position."""

    ignore_index: int | None = None
    """Targets of this value count for nothing."""

    def check_values(self, inputs: Mapping[str, Tensor]) -> None:
        """Refuse class indices out of range; see `LossModule.check_values`.

        The number of classes is read off pred, so without pred nothing is checked.
        """
        if "target" in inputs and "pred" in inputs:
            classes = take_logits(inputs["pred"]).shape[1]
            checks.require_classes("target", inputs["target"], classes, self.ignore_index)

    def _take(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        checks.require_names(inputs, self.input_names)
        return self._take_indices(inputs["pred"], inputs["target"])

    def _take_indices(self, pred: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        return take_indices(pred, target)


def take_indices(
    pred: Tensor, target: Tensor, names: tuple[str, str] = ("pred", "target")
) -> tuple[Tensor, Tensor]:
    """Logits (N, C, …) as `take_logits` gives them, and their class indices (N, …).

    Raises:
        ValueError: A dtype or shape is wrong; the inputs' names stand in it.
    """
    pred = take_logits(pred, names[0])
    shape = pred.shape[:1] + pred.shape[2:]
    if target.shape != shape:
        if target.shape == pred.shape:
            raise ValueError(
                f"{names[1]} must be class indices of shape {tuple(shape)}, but got shape "
                f"{tuple(target.shape)} of {target.dtype}, as one-hot rows have"
            )
        meaning = f"{names[0]}'s shape without its classes"
        checks.require_shape(names[1], target, shape, meaning)
    if target.dtype is not torch.int64:
        checks.require_integers(names[1], target, ": it takes class indices")
        target = target.long()
    return pred, target


def take_logits(pred: Tensor, name: str = "pred") -> Tensor:
    """Refuse what cannot be logits (N, C, …); give them as float32 or float64.

    Raises:
        ValueError: The dtype or the number of dimensions is wrong.
    """
    if pred.dim() < 2:
        raise ValueError(
            f"{name} must have at least 2 dimensions (N, C, …), but got shape {tuple(pred.shape)}"
        )
    if pred.dtype in _PRECISE:
        return pred
    checks.require_floats(name, pred)
    return _widened(pred, torch.float32)
