"""Regression: the outputs are numbers."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from talweg.spec import output_of
from talweg.v1.options_pb2 import OutputFacts
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.data import DataBundle
from talweg.worker.tasks.common.array_contract import Array
from talweg.worker.tasks.common.base import Floats, Predictions
from talweg.worker.tasks.common.metrics import pinball, r2
from talweg.worker.tasks.common.single_target import OneTarget


class Regression(OneTarget):
    """Numbers from inputs; all metrics are in the target's own units."""

    contract = {
        "x": Array(("N …",), "the inputs"),
        "y": Array(("N", "N K"), "the numbers to predict"),
    }

    def __init__(self, spec: JobSpec, bundle: DataBundle) -> None:
        """Take a filled spec and its data."""
        super().__init__(spec, bundle)
        self._scaler = bundle.target_scaler
        self._mean = self.targets(bundle.train.y).mean(dim=0)
        output = output_of(spec.loss)
        self._gives_log = output.kind == OutputFacts.LOG_MEAN
        self._gives_variance = output.kind == OutputFacts.MEAN_AND_VARIANCE
        # Quantiles that are evaluated, and whether each has an output of its own.
        self._quantiles: Floats = np.array(output.quantiles)
        self._by_quantile = output.kind == OutputFacts.QUANTILES

    def start(self, network: nn.Module) -> None:
        """Begin at the mean of the training targets where outputs are its logarithm.

        Targets keep their own units then, and a rate of 1, at which outputs near 0 begin, may be
        thousands of steps away. Only a last layer that is linear, with a constant, is moved.
        """
        *_, layer = network.children()
        if self._gives_log and isinstance(layer, nn.Linear) and layer.bias is not None:
            with torch.no_grad():
                layer.bias.add_(self._mean.clamp(min=torch.finfo(torch.float32).tiny).log())

    def targets(self, y: Tensor) -> Tensor:
        """Return (N, K)."""
        return y[:, None] if y.dim() == 1 else y

    def predict(self, outputs: Tensor, y: Tensor) -> Predictions:
        """Read the outputs as numbers in the target's units; see `TaskRunner.predict`."""
        values = outputs.double()
        if self._gives_log:
            values = values.exp()
        if self._gives_variance:
            return self._with_sd(values.reshape(*y.shape, 2), y)
        if not self._by_quantile:
            return Predictions(self._unscale(y), self._unscale(values.reshape(y.shape)))
        # Quantiles first, so that the scaler meets the targets' own columns.
        by_quantile = values.reshape(*y.shape, len(self._quantiles)).movedim(-1, 0)
        quantiles = np.stack([self._unscale(of_one) for of_one in by_quantile], axis=-1)
        middle = int(np.abs(self._quantiles - 0.5).argmin())
        return Predictions(self._unscale(y), quantiles[..., middle], quantiles=quantiles)

    def _with_sd(self, values: Tensor, y: Tensor) -> Predictions:
        mean, raw = values.unbind(-1)
        sd: Floats = F.softplus(raw).sqrt().to("cpu").numpy()
        if self._scaler is not None:
            sd = sd * self._scaler.sd
        return Predictions(self._unscale(y), self._unscale(mean), sd=sd)

    def metrics(self, predictions: Predictions) -> dict[str, float]:
        """Return mae, rmse, r2 and, under quantile losses, pinball."""
        count = len(predictions.y_true)
        y_true = predictions.y_true.reshape(count, -1)
        y_pred = predictions.y_pred.reshape(count, -1)
        error = y_pred - y_true
        values = {
            "mae": float(np.abs(error).mean()),
            "rmse": float(np.sqrt(np.square(error).mean())),
            "r2": r2(y_true, y_pred),
        }
        if len(self._quantiles):
            by_quantile = predictions.quantiles
            each = y_pred[..., None]
            if by_quantile is not None:
                each = by_quantile.reshape(*y_true.shape, -1)
            values["pinball"] = pinball(y_true[..., None], each, self._quantiles)
        return {name: value for name, value in values.items() if value is not None}

    def _unscale(self, values: Tensor) -> Floats:
        numbers: Floats = values.to("cpu", torch.float64).numpy()
        return numbers if self._scaler is None else self._scaler.unscale(numbers)
