"""Losses made of other losses' values: several tasks weighed, samples admitted by degree."""

from collections.abc import Mapping
from typing import cast

from torch import Tensor

from talweg.v1 import losses_pb2 as pb
from talweg.worker.losses import checks
from talweg.worker.losses.base import LossModule, reduction_of
from talweg.worker.losses.embedding_base import Counted, Pooled, choice_of, take_alike
from talweg.worker.losses.functional import multitask


class Uncertainty(Pooled):
    """Uncertainty weighting: several tasks' losses weighed by learned log variances.

    L = Σ e^-s L_k/2 + s/2 (regression), e^-s L_k + s/2 (classification), or e^-s L_k + s (simple)

    s are the log_vars, clamped to [-20, 20].

    Args:
        variant: How a log variance weighs its loss: kendall (default) or simple.
        task_types: What each task is, under kendall; in a job what each head is, where absent:
            regression or classification.
        initial_log_vars: Where the log variances start in a job; 0 where absent; each in [-20,
            20], at most 100.
        losses: In a job each head's loss, in the order of the heads; at most 20.
        reduction: mean (default) or sum, which are the same.

    Inputs: losses (K,); log_vars (K,).
    Returns: A scalar.
    Reference: Kendall et al. 2018, https://arxiv.org/abs/1705.07115
    """

    input_names = ("losses", "log_vars")

    def __init__(self, spec: pb.Uncertainty) -> None:
        """Make the loss of a filled message."""
        super().__init__(reduction_of(spec))
        self.num_initial = len(spec.initial_log_vars)
        names = pb.Uncertainty.TaskType
        task_types = [cast(multitask.TaskType, names.Name(task)) for task in spec.task_types]
        self.task_types = task_types if choice_of(spec, "variant") == "kendall" else None

    def _take(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        checks.require_names(inputs, self.input_names)
        losses, log_vars = take_alike(inputs, self.input_names, "(K,)")
        if self.task_types is not None and len(self.task_types) != len(losses):
            raise ValueError(
                f"task_types must have one value per task under variant kendall, {len(losses)}, "
                f"but got {len(self.task_types)}"
            )
        if self.num_initial and self.num_initial != len(losses):
            raise ValueError(
                f"initial_log_vars must have one value per task, {len(losses)}, but got "
                f"{self.num_initial}"
            )
        return losses, log_vars

    def _pooled(self, losses: Tensor, log_vars: Tensor) -> Tensor:
        return multitask.uncertainty(losses, log_vars, self.task_types)


class GradNorm(Pooled):
    """GradNorm: what the weights of several tasks learn by, so that all learn at one pace.

    L = Σ |w g - c|, c = mean(w g) (r / mean r)^alpha, constant, r = losses / initial_losses

    w are the weights, which alone get a gradient, and g the grad_norms.

    Args:
        alpha: How strongly slow tasks are helped; ≥ 0, default 1.5.
        losses: In a job each head's loss, in the order of the heads. The weights start at 1 and
            sum to the number of heads; at most 20.
        reduction: mean (default) or sum, which are the same.

    Inputs: weights (K,); grad_norms (K,) of the unweighted losses at the last shared layer; losses
        (K,); initial_losses (K,).
    Returns: A scalar.
    Reference: Chen et al. 2018, https://arxiv.org/abs/1711.02257
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
        return multitask.gradnorm(weights, grad_norms, losses, initial_losses, alpha=self.alpha)


class Curriculum(Counted):
    """Mean loss of the samples that are no harder than a threshold.

    L = losses where difficulty ≤ threshold, else 0

    The mean is over the samples that are admitted; 0 where nobody is.

    Args:
        threshold: The hardest that is admitted, in units of the difficulty.
        reduction: mean (default), sum or none.

    Inputs: losses (N,); difficulty (N,).
    Returns: A value a sample (N,), or the reduced scalar.
    Reference: Bengio et al. 2009, https://doi.org/10.1145/1553374.1553380
    """

    input_names = ("losses", "difficulty")

    def __init__(self, spec: pb.Curriculum) -> None:
        """Make the loss of a filled message.

        Raises:
            ValueError: No threshold is given.
        """
        super().__init__(reduction_of(spec))
        if not spec.HasField("threshold"):
            raise ValueError(
                "threshold must be set, the largest difficulty that is included, but got nothing"
            )
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
