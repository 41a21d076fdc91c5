"""Samples in the data's own units."""

from __future__ import annotations

import torch
from torch import Tensor

from talweg.worker.data import StandardScaler
from talweg.worker.tasks.common.metrics import Floats


def to_raw(x: Tensor, scaler: StandardScaler | None) -> Floats:
    """Take samples (N, …) back to what they were before they were standardised."""
    values: Floats = x.detach().to("cpu", torch.float64).numpy()
    return values if scaler is None else scaler.unscale(values)
