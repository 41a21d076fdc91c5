"""Samples in the data's units, which a generator makes of noise."""

from dataclasses import dataclass

from torch import Tensor

from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.data import DataBundle
from talweg.worker.tasks.common.postprocessing import InUnits, statistics


@dataclass(frozen=True)
class Samples(InUnits):
    """Samples (N, numbers of a sample)."""

    kind = "samples"

    def __call__(self, outputs: Tensor) -> Tensor:
        """Return samples in their units."""
        return self.unscaled(outputs).flatten(1)


POSTPROCESSORS = (Samples,)


def postprocessor(spec: JobSpec, bundle: DataBundle) -> Samples:
    """Make the postprocessor of a filled spec over its data."""
    return Samples(**statistics(bundle.inputs.scaler))


def num_noise(spec: JobSpec) -> int:
    """Return the numbers of noise that the generator takes."""
    return spec.model.adversarial.noise
