"""Reconstructions of samples, in the data's units or as probabilities."""

from dataclasses import dataclass

from torch import Tensor

from talweg.spec import output_of
from talweg.v1.options_pb2 import OutputFacts
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.data import DataBundle
from talweg.worker.tasks.common.postprocessing import (
    ACTIVATIONS,
    Activation,
    InUnits,
    statistics,
)


@dataclass(frozen=True)
class Reconstruction(InUnits):
    """Samples (N, numbers of a sample), of outputs of which the first is the reconstruction."""

    kind = "reconstruction"
    activation: Activation = "none"
    """sigmoid where the reconstruction is logits of numbers that are 0 or 1."""

    def __call__(self, outputs: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """Return the reconstruction, flattened."""
        return self.of_reconstruction(outputs[0]).flatten(1)

    def of_reconstruction(self, reconstruction: Tensor) -> Tensor:
        """Return what the decoder gives, of its shape, in units or as probabilities."""
        if self.activation == "none":
            return self.unscaled(reconstruction)
        return ACTIVATIONS[self.activation](reconstruction)


POSTPROCESSORS = (Reconstruction,)


def postprocessor(spec: JobSpec, bundle: DataBundle) -> Reconstruction:
    """Make the postprocessor of a filled spec over its data."""
    activation: Activation = "sigmoid" if is_binary(spec) else "none"
    return Reconstruction(**statistics(bundle.inputs.scaler), activation=activation)


def is_binary(spec: JobSpec) -> bool:
    """Return whether a filled spec's reconstructions are of numbers that are 0 or 1."""
    return output_of(spec.loss).kind == OutputFacts.BINARY_LOGITS
