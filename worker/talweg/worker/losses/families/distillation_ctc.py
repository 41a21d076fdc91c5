"""Losses of what comes without one target a row: a teacher's logits, a sequence of symbols."""

from collections.abc import Mapping

from torch import Tensor

from talweg.v1 import losses_pb2 as pb
from talweg.worker.losses import checks
from talweg.worker.losses.base import LossModule, reduction_of, same_precision, take_logits
from talweg.worker.losses.embedding_base import choice_of
from talweg.worker.losses.functional import classification as functional


class Distillation(LossModule):
    """T² KL(teacher ‖ student) at temperature T, summed over classes. Hinton et al. 2015.

    pred and teacher_logits (N, C).
    """

    input_names = ("pred", "teacher_logits")

    def __init__(self, spec: pb.Distillation) -> None:
        """Make the loss of a filled message."""
        super().__init__(reduction_of(spec))
        self.temperature = spec.temperature

    def _take(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        checks.require_names(inputs, self.input_names)
        pred, teacher = take_logits(inputs["pred"]), inputs["teacher_logits"]
        checks.require_dimensions("pred", pred, "(N, C)")
        checks.require_shape("teacher_logits", teacher, pred.shape, "the shape of pred")
        checks.require_floats("teacher_logits", teacher)
        return same_precision(pred, teacher)

    def _values(self, pred: Tensor, teacher_logits: Tensor) -> Tensor:
        return functional.distillation(pred, teacher_logits, temperature=self.temperature)


class Ctc(LossModule):
    """-log p(targets) over all alignments. Graves et al. 2006.

    pred logits (T, N, C); targets (N, S), of which target_lengths (N,) count; input_lengths (N,)
    time steps count. A sequence without any alignment counts as 0, or is refused under impossible
    error. The mean divides each value by its target's length first.
    """

    input_names = ("pred", "targets", "target_lengths", "input_lengths")

    def __init__(self, spec: pb.Ctc) -> None:
        """Make the loss of a filled message."""
        super().__init__(reduction_of(spec))
        self.blank = spec.blank
        self.refuses_impossible = choice_of(spec, "impossible") == "error"

    def check_values(self, inputs: Mapping[str, Tensor]) -> None:
        """Refuse lengths and classes out of range, and the blank as a target."""
        if any(name not in inputs for name in self.input_names):
            return
        pred, targets, target_lengths, input_lengths = self._take(inputs)
        checks.require_between("target_lengths", target_lengths, 0, targets.shape[1])
        checks.require_between("input_lengths", input_lengths, 0, pred.shape[0])
        counted = targets.new_ones(targets.shape).cumsum(1) <= target_lengths[:, None]
        checks.require_classes("targets", targets[counted], pred.shape[2])
        checks.require_other("targets", targets[counted], self.blank, "the blank")

    def _take(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        checks.require_names(inputs, self.input_names)
        pred = take_logits(inputs["pred"])
        checks.require_dimensions("pred", pred, "(T, N, C)")
        if not self.blank < pred.shape[2]:
            raise ValueError(
                f"blank must be a class of pred, 0 to {pred.shape[2] - 1}, but got {self.blank}"
            )
        number = pred.shape[1:2]
        targets = inputs["targets"]
        checks.require_dimensions("targets", targets, "(N, S)")
        checks.require_shape("targets", targets, (*number, targets.shape[1]), "a row a sequence")
        whole = []
        for name in self.input_names[1:]:
            if name != "targets":
                checks.require_shape(name, inputs[name], number, "one length a sequence")
            checks.require_integers(name, inputs[name])
            whole.append(inputs[name].long())
        return (pred, *whole)

    def _values(
        self, pred: Tensor, targets: Tensor, target_lengths: Tensor, input_lengths: Tensor
    ) -> Tensor:
        if not pred.numel():
            return pred.sum((0, 2))
        return functional.ctc(
            pred,
            targets,
            target_lengths,
            input_lengths,
            blank=self.blank,
            refuses_impossible=self.refuses_impossible,
        )

    def _mean(self, values: Tensor, *tensors: Tensor) -> Tensor:
        return functional.ctc_mean(values, tensors[2])

    def _weight(self, *tensors: Tensor) -> int:
        return tensors[0].shape[1]


BUILDERS: dict[str, type[LossModule]] = {"distillation": Distillation, "ctc": Ctc}
"""The losses of this family."""
