"""Losses made of other losses' values: several tasks weighed, samples admitted by degree."""

from collections.abc import Mapping
from typing import cast

from torch import Tensor

from talweg.v1 import losses_pb2 as pb
from talweg.worker.losses import checks
from talweg.worker.losses.base import LossModule, reduction_of
from talweg.worker.losses.embedding_base import Counted, Pooled, choice_of, take_alike
from talweg.worker.losses.functional import several


class Uncertainty(Pooled):
    """Σ of e^-s L/2 + s/2 (regression) and e^-s L + s/2 (classification). Kendall et al. 2018.

    losses L and log_vars s (K,); s is taken for -20 below and for 20 above. The simple variant is
    e^-s L + s of every task.
    """

    input_names = ("losses", "log_vars")

    def __init__(self, spec: pb.Uncertainty) -> None:
        """Make the loss of a filled message."""
        super().__init__(reduction_of(spec))
        self.num_initial = len(spec.initial_log_vars)
        names = pb.Uncertainty.TaskType
        given = [cast(several.TaskType, names.Name(task)) for task in spec.task_types]
        self.task_types = given if choice_of(spec, "variant") == "kendall" else None

    def _take(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        checks.require_names(inputs, self.input_names)
        losses, log_vars = take_alike(inputs, self.input_names, "(K,)")
        if self.task_types is not None and len(self.task_types) != len(losses):
            raise ValueError(
                f"task_types must have one value a task under variant kendall, {len(losses)}, "
                f"but got {len(self.task_types)}"
            )
        if self.num_initial and self.num_initial != len(losses):
            raise ValueError(
                f"initial_log_vars must have one value a task, {len(losses)}, "
                f"but got {self.num_initial}"
            )
        return losses, log_vars

    def _pooled(self, losses: Tensor, log_vars: Tensor) -> Tensor:
        return several.uncertainty(losses, log_vars, self.task_types)


class GradNorm(Pooled):
    """Σ |w g - c|, c = mean(w g) (r / mean r)^alpha, constant, r = L / L0. Chen et al. 2018.

    weights w, grad_norms g of the unweighted losses at the last shared layer, losses L and
    initial_losses L0 (K,). Only the weights get a gradient.
    """

    input_names = ("weights", "grad_norms", "losses", "initial_losses")

    def __init__(self, spec: pb.GradNorm) -> None:
        """Make the loss of a filled message."""
        super().__init__(reduction_of(spec))
        self.alpha = spec.alpha

    def _take(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        checks.require_names(inputs, self.input_names)
        return take_alike(inputs, self.input_names, "(K,)")

    def _pooled(
        self, weights: Tensor, grad_norms: Tensor, losses: Tensor, initial_losses: Tensor
    ) -> Tensor:
        return several.gradnorm(weights, grad_norms, losses, initial_losses, alpha=self.alpha)


class Curriculum(Counted):
    """The mean of the losses of samples whose difficulty is at most the threshold.

    losses and difficulty (N,); the others' values are 0. Bengio et al. 2009.
    """

    input_names = ("losses", "difficulty")

    def __init__(self, spec: pb.Curriculum) -> None:
        """Make the loss of a filled message.

        Raises:
            ValueError: No threshold is given.
        """
        super().__init__(reduction_of(spec))
        if not spec.HasField("threshold"):
            raise ValueError("threshold must be the hardest that is admitted, but got nothing")
        self.threshold = spec.threshold

    def _take(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        checks.require_names(inputs, self.input_names)
        (losses,) = take_alike(inputs, ("losses",), "(N,)")
        difficulty = inputs["difficulty"]
        checks.require_shape("difficulty", difficulty, losses.shape, "the shape of losses")
        if difficulty.is_complex():
            checks.require_floats("difficulty", difficulty)
        return losses, difficulty

    def _counted(self, losses: Tensor, difficulty: Tensor) -> tuple[Tensor, Tensor]:
        return losses, difficulty <= self.threshold


BUILDERS: dict[str, type[LossModule]] = {
    "uncertainty": Uncertainty,
    "gradnorm": GradNorm,
    "curriculum": Curriculum,
}
"""The losses of this family."""
