"""A model that losses can compare by, in a blob store."""

from pathlib import Path

from talweg.blobs import Blobs
from talweg.spec import fill, from_dict
from talweg.worker import data, models
from talweg.worker.artifacts.predictor import describe
from talweg.worker.storage import trained_models as kept_models

FEATURES = "jobs/features"
"""The job whose model it is."""


def write_features(store: Path, *, seed: int = 0) -> str:
    """Keep a small convnet over digits as it is before training, and give its digest."""
    spec = fill(
        from_dict(
            {
                "task": "multiclass",
                "dataset": "digits",
                "model": {"convnet": {"channels": [3, 4], "dropout": 0.5}},
                "loss": "cross_entropy",
            }
        )
    )
    bundle = data.load(spec)
    network = models.build(spec.model, bundle.inputs.shape, 10, seed=seed)
    return kept_models.write(
        Blobs(str(store)), FEATURES, network.state_dict(), describe(spec, bundle)
    )
