"""Friedman's first test function, with outliers."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from talweg.plugins import Data, Parameter, declare


@declare(
    Parameter(
        "num_samples", int, default=1000, ge=50, le=1_000_000, description="Number of samples."
    ),
    Parameter(
        "outliers",
        float,
        default=0.05,
        ge=0,
        le=0.5,
        description="Fraction of the samples whose target is far off.",
    ),
    Parameter("seed", int, default=0, ge=0, description="The same seed gives the same data."),
    reference="Friedman 1991, https://doi.org/10.1214/aos/1176347963",
    tasks=["regression"],
)
def friedman(parameters: Mapping[str, Any]) -> Data:
    """Friedman's first test function of five uniform features, with noise and outliers."""
    rng = np.random.default_rng(parameters["seed"])
    a, b, c, d, e = rng.uniform(size=(5, parameters["num_samples"]))
    y = 10 * np.sin(np.pi * a * b) + 20 * (c - 0.5) ** 2 + 10 * d + 5 * e
    y += rng.normal(size=y.shape)
    far_off = rng.uniform(size=y.shape) < parameters["outliers"]
    y[far_off] += rng.uniform(50, 100, size=far_off.sum())
    return Data({"a": a, "b": b, "c": c, "d": d, "e": e, "y": y}, target="y")
