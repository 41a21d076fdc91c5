"""Numbers in the targets' units, of outputs that are standardised, or logarithms of numbers."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from talweg.spec import num_outputs, output_of
from talweg.v1.options_pb2 import OutputFacts
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.data import DataBundle
from talweg.worker.tasks.common.postprocessing import InUnits, statistics

# As in the loss, of parameters that are taken for no less.
_SMALLEST = 1e-6


@dataclass(frozen=True)
class Numbers(InUnits):
    """Numbers (N, K), or (N, K·Q) where each target has Q outputs beside each other."""

    kind = "numbers"
    exponential: bool = False
    """Whether outputs are the numbers' logarithms."""
    outputs_per_target: int = 1
    """Outputs Q of one target, such as its quantiles."""

    def __call__(self, outputs: Tensor) -> Tensor:
        """Return outputs in the targets' units."""
        values = outputs.exp() if self.exponential else outputs
        return self.unscaled(values, each=self.outputs_per_target)


@dataclass(frozen=True)
class MeanAndSd(InUnits):
    """Mean and standard deviation of each target beside each other (N, 2K).

    The second output of each target is its variance before softplus.
    """

    kind = "mean_and_sd"

    def __call__(self, outputs: Tensor) -> Tensor:
        """Return both in the targets' units."""
        mean, before_softplus = outputs.reshape(outputs.shape[0], -1, 2).unbind(-1)
        sd = F.softplus(before_softplus).sqrt()
        if self.sd:
            sd = sd * sd.new_tensor(self.sd)
        return torch.stack([self.unscaled(mean), sd], dim=-1).flatten(1)


@dataclass(frozen=True)
class MeanAndVariances(InUnits):
    """Mean, aleatoric and epistemic variance of each target beside each other (N, 3K).

    Outputs (N, 4K) are the mean and, before softplus, ν, α - 1 and β of a normal-inverse-gamma
    distribution: the aleatoric variance is β/(α - 1), the epistemic one β/(ν(α - 1)). Amini et al.
    2020, https://arxiv.org/abs/1910.02600.
    """

    kind = "mean_and_variances"

    def __call__(self, outputs: Tensor) -> Tensor:
        """Return all three in the targets' units, the variances in their square."""
        mean, *raw = outputs.reshape(outputs.shape[0], -1, 4).unbind(-1)
        nu, excess, beta = (F.softplus(each).clamp(min=_SMALLEST) for each in raw)
        aleatoric = beta / excess
        if self.sd:
            aleatoric = aleatoric * aleatoric.new_tensor(self.sd).square()
        return torch.stack([self.unscaled(mean), aleatoric, aleatoric / nu], dim=-1).flatten(1)


POSTPROCESSORS = (Numbers, MeanAndSd, MeanAndVariances)


def postprocessor(spec: JobSpec, bundle: DataBundle) -> Numbers | MeanAndSd | MeanAndVariances:
    """Make the postprocessor of a filled spec over its data."""
    units = statistics(bundle.target_scaler)
    if output_of(spec.loss).kind == OutputFacts.MEAN_AND_VARIANCE:
        return MeanAndSd(**units)
    if output_of(spec.loss).kind == OutputFacts.NORMAL_INVERSE_GAMMA:
        return MeanAndVariances(**units)
    outputs_per_target = num_outputs(spec, bundle.num_targets) // bundle.num_targets
    return Numbers(
        **units, exponential=gives_logarithms(spec), outputs_per_target=outputs_per_target
    )


def gives_logarithms(spec: JobSpec) -> bool:
    """Return whether a filled spec's outputs are logarithms of the numbers."""
    return output_of(spec.loss).kind == OutputFacts.LOG_MEAN
