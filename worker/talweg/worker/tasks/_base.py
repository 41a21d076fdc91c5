"""What every task does."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from talweg.spec import num_outputs, output_activation
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.data import DataBundle
from talweg.worker.losses import LossModule
from talweg.worker.tasks._counted import counted
from talweg.worker.tasks._losses import Outputs, criterion

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Predictions:
    """What a model says of some samples, beside what is true of them."""

    y_true: NDArray[Any]
    """Regression: numbers (N,) or (N, K) in the target's units. Binary and multiclass: classes
    (N,). Ordinal: ranks (N,). Multilabel: 0 and 1 (N, L)."""
    y_pred: NDArray[Any]
    """The answers, in the form of y_true."""
    probabilities: Floats | None = None
    """Binary: of class 1 (N,). Multiclass (N, C), ordinal (N, K), multilabel (N, L). None for
    regression."""
    sd: Floats | None = None
    """Under gaussian_nll: the predicted standard deviation, in the form of y_pred."""
    quantiles: Floats | None = None
    """Under multi_quantile: (N, Q) or (N, K, Q), in the target's units."""


class TaskRunner(ABC):
    """One job's task over one job's data.

    Holds nothing that training changes, but for the weights that a loss itself may have.
    """

    num_outputs: int
    """Outputs of the model's last layer."""
    criterion: LossModule
    """The loss over the model's outputs as they are: an activation that the loss needs and the
    model does not have stands inside. Takes pred (N, num_outputs) and target. It may have weights
    of its own, which are learnt beside the model's."""
    computed: dict[str, str]
    """What was counted and computed in the training split, by name, as a run's parameters."""

    def __init__(self, spec: JobSpec, bundle: DataBundle) -> None:
        """Takes a filled spec and its data."""
        self.num_outputs = num_outputs(spec, bundle.num_targets)
        self._ends_in = output_activation(spec)
        loss, self.computed = counted(spec, bundle)
        self.criterion = criterion(
            loss,
            Outputs(
                ends_in=self._ends_in, num_classes=bundle.num_targets, seed=spec.training.seed
            ),
        )

    def start(self, network: nn.Sequential) -> None:  # noqa: B027 - most start well as they are
        """Moves a network's first outputs to where the targets are, where that is far off."""

    @abstractmethod
    def targets(self, y: Tensor) -> Tensor:
        """Gives a part's targets in the shape in which the loss takes them."""

    @abstractmethod
    def predict(self, outputs: Tensor, y: Tensor) -> Predictions:
        """Reads the model's outputs.

        Args:
            outputs: (N, num_outputs), on any device.
            y: The targets of the same samples, as the data has them.
        """

    @abstractmethod
    def metrics(self, predictions: Predictions) -> dict[str, float]:
        """Judges predictions: by metric's name, without those that the samples leave undefined."""
