"""Binary, multiclass and multilabel: the outputs are logits, or probabilities of them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.data import DataBundle
from talweg.worker.losses import ClassCounts
from talweg.worker.tasks.common.adapters import cosine_head
from talweg.worker.tasks.common.array_contract import Array
from talweg.worker.tasks.common.base import Floats, Predictions
from talweg.worker.tasks.common.class_counts import count_answers, count_classes
from talweg.worker.tasks.common.metrics import (
    auroc_and_average_precision,
    calibration_error,
    f1_by_class,
    f1_by_label,
)
from talweg.worker.tasks.common.single_target import OneTarget

_X = Array(("N …",), "the inputs")


class Binary(OneTarget):
    """Yes or no from inputs."""

    contract = {"x": _X, "y": Array(("N",), "0 or 1")}

    def __init__(self, spec: JobSpec, bundle: DataBundle) -> None:
        """Take a filled spec and its data."""
        super().__init__(spec, bundle)
        self._threshold = spec.task.binary.threshold

    def class_counts(self, bundle: DataBundle) -> ClassCounts:
        """Count yes and no."""
        return count_answers(bundle.train.y)

    def targets(self, y: Tensor) -> Tensor:
        """Return (N, 1)."""
        return y[:, None]

    def predict(self, outputs: Tensor, y: Tensor) -> Predictions:
        """Read the outputs as the probability of yes; see `TaskRunner.predict`."""
        probabilities = _sigmoid(outputs[:, 0], self._ends_in)
        answers = (probabilities >= self._threshold).astype(np.int64)
        return Predictions(y.numpy().astype(np.int64), answers, probabilities)

    def metrics(self, predictions: Predictions) -> dict[str, float]:
        """Return accuracy, f1, auroc, average_precision and ece."""
        y_true, y_pred = predictions.y_true, predictions.y_pred
        probabilities = predictions.probabilities
        assert probabilities is not None
        right = y_true == y_pred
        auroc, average_precision = auroc_and_average_precision(y_true, probabilities)
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


class Multiclass(OneTarget):
    """One class out of several."""

    contract = {"x": _X, "y": Array(("N",), "class indices", whole=True)}

    def class_counts(self, bundle: DataBundle) -> ClassCounts:
        """Count the classes."""
        return count_classes(bundle.train.y, bundle.num_targets)

    def targets(self, y: Tensor) -> Tensor:
        """Return class indices (N,)."""
        return y

    def predict(self, outputs: Tensor, y: Tensor) -> Predictions:
        """Read the outputs as probabilities of the classes; see `TaskRunner.predict`."""
        head = cosine_head(self.criterion)
        if head is not None:
            outputs = head.logits(outputs.double()).detach()
        values = outputs.to("cpu", torch.float64)
        if head is not None or self._ends_in == "none":
            values = values.softmax(dim=1)
        probabilities: Floats = values.numpy()
        return Predictions(y.numpy(), probabilities.argmax(axis=1), probabilities)

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


class Multilabel(OneTarget):
    """Any number of labels out of several."""

    contract = {"x": _X, "y": Array(("N L",), "0 or 1 a label")}

    def __init__(self, spec: JobSpec, bundle: DataBundle) -> None:
        """Take a filled spec and its data."""
        super().__init__(spec, bundle)
        self._threshold = spec.task.multilabel.threshold

    def class_counts(self, bundle: DataBundle) -> ClassCounts:
        """Count each label's yes and no."""
        return count_answers(bundle.train.y)

    def targets(self, y: Tensor) -> Tensor:
        """Return (N, L)."""
        return y

    def predict(self, outputs: Tensor, y: Tensor) -> Predictions:
        """Read the outputs as probabilities of the labels; see `TaskRunner.predict`."""
        probabilities = _sigmoid(outputs, self._ends_in)
        answers = (probabilities >= self._threshold).astype(np.int64)
        return Predictions(y.numpy().astype(np.int64), answers, probabilities)

    def metrics(self, predictions: Predictions) -> dict[str, float]:
        """Return f1_macro, f1_micro and map."""
        y_true, y_pred = predictions.y_true, predictions.y_pred
        probabilities = predictions.probabilities
        assert probabilities is not None
        values: dict[str, float] = {}
        by_label = f1_by_label(y_true, y_pred)
        if len(by_label):
            values["f1_macro"] = float(by_label.mean())
            together = f1_by_label(y_true.reshape(-1, 1), y_pred.reshape(-1, 1))
            values["f1_micro"] = float(together[0])
        curves = [
            auroc_and_average_precision(y_true[:, label], probabilities[:, label])
            for label in range(y_true.shape[1])
        ]
        precisions = [precision for _, precision in curves if precision is not None]
        if precisions:
            values["map"] = float(np.mean(precisions))
        return values


def _sigmoid(outputs: Tensor, ends_in: str) -> Floats:
    values = outputs.to("cpu", torch.float64)
    probabilities: Floats = (values.sigmoid() if ends_in == "none" else values).numpy()
    return probabilities
