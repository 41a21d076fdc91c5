"""Binary classification: the output is a logit, or a probability, of class 1."""

import numpy as np
import torch
from torch import Tensor

from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.data import DataBundle
from talweg.worker.losses import ClassCounts
from talweg.worker.tasks.classification.predictions import Probabilities, postprocessor
from talweg.worker.tasks.common.array_contract import Array
from talweg.worker.tasks.common.base import Floats, Predictions
from talweg.worker.tasks.common.class_counts import count_binary
from talweg.worker.tasks.common.metrics import (
    auroc_and_average_precision,
    calibration_error,
    f1_by_label,
)
from talweg.worker.tasks.common.single_target import OneTarget


class Binary(OneTarget):
    """One of two classes from inputs."""

    contract = {"x": Array(("N …",), "the inputs"), "y": Array(("N",), "0 or 1")}
    postprocess: Probabilities

    def __init__(self, spec: JobSpec, bundle: DataBundle) -> None:
        """Take a filled spec and its data."""
        super().__init__(spec, bundle)
        self.postprocess = postprocessor(spec, bundle)
        self._threshold = spec.task.binary.threshold

    def class_counts(self, bundle: DataBundle) -> ClassCounts:
        """Count both classes."""
        return count_binary(bundle.train.y)

    def targets(self, y: Tensor) -> Tensor:
        """Return (N, 1)."""
        return y[:, None]

    def predict(self, outputs: Tensor, y: Tensor) -> Predictions:
        """Read the outputs as the probability of class 1; see `TaskRunner.predict`."""
        logits = outputs[:, 0].to("cpu", torch.float64)
        probabilities: Floats = self.postprocess(logits).numpy()
        classes = (probabilities >= self._threshold).astype(np.int64)
        return Predictions(
            y.numpy().astype(np.int64),
            classes,
            probabilities,
            log_odds=self.postprocess.log_odds(logits),
        )

    def metrics(self, predictions: Predictions) -> dict[str, float]:
        """Return accuracy, f1, auroc, average_precision and ece."""
        y_true, y_pred = predictions.y_true, predictions.y_pred
        probabilities, scores = predictions.probabilities, predictions.ranked_by
        assert probabilities is not None
        assert scores is not None
        right = y_true == y_pred
        auroc, average_precision = auroc_and_average_precision(y_true, scores)
        f1 = f1_by_label(y_true[:, None], y_pred[:, None])
        confidence = np.where(y_pred == 1, probabilities, 1 - probabilities)
        values = {
            "accuracy": float(right.mean()),
            "f1": float(f1[0]) if len(f1) else None,
            "auroc": auroc,
            "average_precision": average_precision,
            "ece": calibration_error(confidence, right),
        }
        return {name: value for name, value in values.items() if value is not None}
