"""Specs that tests submit."""

from typing import Any


def sample(seed: int = 0, **fields: Any) -> dict[str, Any]:
    """Return a regression in JSON form."""
    return {
        "task": "regression",
        "dataset": "diabetes",
        "model": {"mlp": {"hidden": [8]}},
        "loss": "mse",
        "training": {"epochs": 5, "seed": seed},
        **fields,
    }
