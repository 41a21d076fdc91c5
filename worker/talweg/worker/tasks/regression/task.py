"""Regression: the outputs are numbers."""

import numpy as np
import torch
from torch import Tensor, nn

from talweg.spec import output_of
from talweg.v1.options_pb2 import OutputFacts
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.data import DataBundle
from talweg.worker.tasks.common.array_contract import Array
from talweg.worker.tasks.common.base import Floats, Predictions
from talweg.worker.tasks.common.metrics import pinball, r2
from talweg.worker.tasks.common.single_target import OneTarget
from talweg.worker.tasks.regression.predictions import (
    MeanAndSd,
    MeanAndVariances,
    gives_logarithms,
    postprocessor,
)


class Regression(OneTarget):
    """Numbers from inputs; all metrics are in the target's own units."""

    contract = {
        "x": Array(("N …",), "the inputs"),
        "y": Array(("N", "N K"), "the values to predict"),
    }

    def __init__(self, spec: JobSpec, bundle: DataBundle) -> None:
        """Take a filled spec and its data."""
        super().__init__(spec, bundle)
        self.postprocess = postprocessor(spec, bundle)
        self._scaler = bundle.target_scaler
        self._mean = self.targets(bundle.train.y).mean(dim=0)
        output = output_of(spec.loss)
        self._gives_logarithms = gives_logarithms(spec)
        # Quantiles that are evaluated, and whether each has an output of its own.
        self._quantiles: Floats = np.array(output.quantiles)
        self._by_quantile = output.kind == OutputFacts.QUANTILES

    def start(self, network: nn.Module) -> None:
        """Begin at the mean of the training targets where outputs are its logarithm.

        Targets keep their own units then, and a rate of 1, at which outputs near 0 begin, may be
        thousands of steps away. Only a last layer that is linear, with a constant, is moved.
        """
        *_, layer = network.children()
        if self._gives_logarithms and isinstance(layer, nn.Linear) and layer.bias is not None:
            with torch.no_grad():
                layer.bias.add_(self._mean.clamp(min=torch.finfo(torch.float32).tiny).log())

    def targets(self, y: Tensor) -> Tensor:
        """Return (N, K)."""
        return y[:, None] if y.dim() == 1 else y

    def predict(self, outputs: Tensor, y: Tensor) -> Predictions:
        """Read the outputs as numbers in the target's units; see `TaskRunner.predict`."""
        y_true: Floats = y.to("cpu", torch.float64).numpy()
        if self._scaler is not None:
            y_true = self._scaler.unscale(y_true)
        values: Floats = self.postprocess(outputs.double()).cpu().numpy()
        if isinstance(self.postprocess, MeanAndSd):
            mean, sd = np.moveaxis(values.reshape(*y.shape, 2), -1, 0)
            return Predictions(y_true, mean.copy(), sd=sd.copy())
        if isinstance(self.postprocess, MeanAndVariances):
            mean, *variances = np.moveaxis(values.reshape(*y.shape, 3), -1, 0)
            aleatoric, epistemic = (each.copy() for each in variances)
            return Predictions(
                y_true,
                mean.copy(),
                sd=np.sqrt(aleatoric + epistemic),
                aleatoric=aleatoric,
                epistemic=epistemic,
            )
        if not self._by_quantile:
            return Predictions(y_true, values.reshape(y.shape))
        quantiles = values.reshape(*y.shape, len(self._quantiles))
        middle = int(np.abs(self._quantiles - 0.5).argmin())
        return Predictions(y_true, quantiles[..., middle], quantiles=quantiles)

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
