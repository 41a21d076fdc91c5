"""Probabilities of what each pixel is, of outputs that are logits."""

from dataclasses import dataclass

from torch import Tensor

from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.tasks_pb2 import Segmentation
from talweg.worker.data import DataBundle
from talweg.worker.tasks.common.postprocessing import ACTIVATIONS, Activation, Postprocessor


@dataclass(frozen=True)
class PixelProbabilities(Postprocessor):
    """Probabilities (N, C, H, W) of the classes, or (N, 1, H, W) of the foreground."""

    kind = "pixel_probabilities"
    activation: Activation
    """softmax of the classes, or sigmoid of the foreground."""

    def __call__(self, outputs: Tensor) -> Tensor:
        """Return the probabilities."""
        return ACTIVATIONS[self.activation](outputs)

    def classes(self, outputs: Tensor, threshold: float) -> Tensor:
        """Return the predicted class of each pixel (N, H, W).

        Args:
            outputs: As the model gives them.
            threshold: From this probability on a pixel is foreground.
        """
        if self.activation == "sigmoid":
            return (self(outputs[:, 0]) >= threshold).long()
        # The largest logit is that of the largest probability.
        return outputs.argmax(dim=1)


POSTPROCESSORS = (PixelProbabilities,)


def postprocessor(spec: JobSpec, bundle: DataBundle) -> PixelProbabilities:
    """Make the postprocessor of a filled spec."""
    of_classes = spec.task.segmentation.target == Segmentation.classes
    return PixelProbabilities("softmax" if of_classes else "sigmoid")
