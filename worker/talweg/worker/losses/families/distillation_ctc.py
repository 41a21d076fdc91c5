"""Losses of what comes without one target a row: a teacher's logits, a sequence of symbols."""

from collections.abc import Mapping

from torch import Tensor

from talweg.v1 import losses_pb2 as pb
from talweg.worker.losses import checks
from talweg.worker.losses.base import LossModule, reduction_of, same_precision, take_logits
from talweg.worker.losses.embedding_base import choice_of
from talweg.worker.losses.functional import classification as functional


class Distillation(LossModule):
    """Knowledge distillation: the divergence from a teacher's softened probabilities.

    L = T² KL(softmax(teacher_logits / T) ‖ softmax(pred / T)), summed over classes

    T is the temperature.

    Args:
        temperature: T > 0, by which both logits are divided; higher softens. Default 1.
        reduction: mean (default), sum or none.

    Inputs: pred (N, C); teacher_logits (N, C).
    Returns: A value a sample (N,), or the reduced scalar.
    Reference: Hinton et al. 2015, https://arxiv.org/abs/1503.02531
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
    """Connectionist temporal classification: likelihood over all alignments of a sequence.

    L = -log p(targets | softmax(pred)); without any alignment 0, or refused under impossible error

    Of each row of targets target_lengths count, of the time steps input_lengths. The mean divides
    each value by its target's length first.

    Args:
        blank: The class that stands for no symbol; default 0.
        impossible: What a sequence without any alignment gives: zero (default) or error.
        reduction: mean (default), sum or none.

    Inputs: pred (T, N, C); targets (N, S) class index; target_lengths (N,); input_lengths (N,).
    Returns: A value a sequence (N,), or the reduced scalar.
    Reference: Graves et al. 2006, https://doi.org/10.1145/1143844.1143891
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
        checks.require_shape(
            "targets", targets, (*number, targets.shape[1]), "one row per sequence"
        )
        whole = []
        for name in self.input_names[1:]:
            if name != "targets":
                checks.require_shape(name, inputs[name], number, "one length per sequence")
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
