"""Multiclass classification: the outputs are logits, probabilities or embeddings."""

import torch
from torch import Tensor

from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.data import DataBundle
from talweg.worker.losses import ClassCounts
from talweg.worker.tasks.classification.predictions import Probabilities, postprocessor
from talweg.worker.tasks.common.adapters import cosine_head
from talweg.worker.tasks.common.array_contract import Array
from talweg.worker.tasks.common.base import Floats, Predictions
from talweg.worker.tasks.common.class_counts import count_classes
from talweg.worker.tasks.common.metrics import calibration_error, f1_by_class
from talweg.worker.tasks.common.single_target import OneTarget


class Multiclass(OneTarget):
    """One class out of several."""

    contract = {
        "x": Array(("N …",), "the inputs"),
        "y": Array(("N",), "class indices", whole=True),
    }
    postprocess: Probabilities

    def __init__(self, spec: JobSpec, bundle: DataBundle) -> None:
        """Take a filled spec and its data."""
        super().__init__(spec, bundle)
        self.postprocess = postprocessor(spec, bundle)

    def class_counts(self, bundle: DataBundle) -> ClassCounts:
        """Count the classes."""
        return count_classes(bundle.train.y, bundle.num_targets)

    def targets(self, y: Tensor) -> Tensor:
        """Return class indices (N,)."""
        return y

    def predict(self, outputs: Tensor, y: Tensor) -> Predictions:
        """Read the outputs as probabilities of the classes; see `TaskRunner.predict`."""
        head = cosine_head(self.criterion)
        logits = outputs if head is None else head.logits(outputs.double()).detach()
        logits = logits.to("cpu", torch.float64)
        probabilities: Floats = self.postprocess.of_logits(logits).numpy()
        return Predictions(
            y.numpy(),
            probabilities.argmax(axis=1),
            probabilities,
            log_odds=self.postprocess.log_odds(logits),
        )

    def metrics(self, predictions: Predictions) -> dict[str, float]:
        """Return accuracy, f1_macro and ece."""
        y_true, y_pred = predictions.y_true, predictions.y_pred
        probabilities = predictions.probabilities
        assert probabilities is not None
        right = y_true == y_pred
        return {
            "accuracy": float(right.mean()),
            "f1_macro": float(f1_by_class(y_true, y_pred, probabilities.shape[1]).mean()),
            "ece": calibration_error(probabilities.max(axis=1), right),
        }
