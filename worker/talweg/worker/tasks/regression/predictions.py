"""Numbers in the targets' units, of outputs that are standardised, or logarithms of numbers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from talweg.spec import num_outputs
from talweg.v1 import losses_pb2
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.data import DataBundle
from talweg.worker.tasks.common.criterion import leaves
from talweg.worker.tasks.common.postprocessing import InUnits, statistics


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


POSTPROCESSORS = (Numbers, MeanAndSd)


def postprocessor(spec: JobSpec, bundle: DataBundle) -> Numbers | MeanAndSd:
    """Make the postprocessor of a filled spec over its data."""
    units = statistics(bundle.target_scaler)
    for _, loss in leaves(spec.loss):
        if isinstance(loss, losses_pb2.GaussianNll):
            return MeanAndSd(**units)
    outputs_per_target = num_outputs(spec, bundle.num_targets) // bundle.num_targets
    return Numbers(
        **units, exponential=gives_logarithms(spec), outputs_per_target=outputs_per_target
    )


def gives_logarithms(spec: JobSpec) -> bool:
    """Return whether a filled spec's outputs are logarithms of the numbers."""
    return any(
        isinstance(loss, losses_pb2.Tweedie)
        or (isinstance(loss, losses_pb2.PoissonNll) and loss.log_input)
        for _, loss in leaves(spec.loss)
    )
