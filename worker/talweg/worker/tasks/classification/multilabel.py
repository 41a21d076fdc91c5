"""Multilabel classification: the outputs are logits, or probabilities, of the labels."""

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
from talweg.worker.tasks.common.metrics import auroc_and_average_precision, f1_by_label
from talweg.worker.tasks.common.single_target import OneTarget


class Multilabel(OneTarget):
    """Any number of labels out of several."""

    contract = {"x": Array(("N …",), "the inputs"), "y": Array(("N L",), "0 or 1 per label")}
    postprocess: Probabilities

    def __init__(self, spec: JobSpec, bundle: DataBundle) -> None:
        """Take a filled spec and its data."""
        super().__init__(spec, bundle)
        self.postprocess = postprocessor(spec, bundle)
        self._threshold = spec.task.multilabel.threshold

    def class_counts(self, bundle: DataBundle) -> ClassCounts:
        """Count how often each label is carried and not."""
        return count_binary(bundle.train.y)

    def targets(self, y: Tensor) -> Tensor:
        """Return (N, L)."""
        return y

    def predict(self, outputs: Tensor, y: Tensor) -> Predictions:
        """Read the outputs as probabilities of the labels; see `TaskRunner.predict`."""
        logits = outputs.to("cpu", torch.float64)
        probabilities: Floats = self.postprocess(logits).numpy()
        labels = (probabilities >= self._threshold).astype(np.int64)
        return Predictions(
            y.numpy().astype(np.int64),
            labels,
            probabilities,
            log_odds=self.postprocess.log_odds(logits),
        )

    def metrics(self, predictions: Predictions) -> dict[str, float]:
        """Return f1_macro, f1_micro and map."""
        y_true, y_pred = predictions.y_true, predictions.y_pred
        scores = predictions.ranked_by
        assert scores is not None
        values: dict[str, float] = {}
        by_label = f1_by_label(y_true, y_pred)
        if len(by_label):
            values["f1_macro"] = float(by_label.mean())
            together = f1_by_label(y_true.reshape(-1, 1), y_pred.reshape(-1, 1))
            values["f1_micro"] = float(together[0])
        curves = [
            auroc_and_average_precision(y_true[:, label], scores[:, label])
            for label in range(y_true.shape[1])
        ]
        precisions = [precision for _, precision in curves if precision is not None]
        if precisions:
            values["map"] = float(np.mean(precisions))
        return values
