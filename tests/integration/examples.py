"""The example job files, run through the public API on a stack."""

from dataclasses import dataclass
from pathlib import Path

import mlflow
import numpy as np
from tests._parts import wait_until
from tests.integration.stack import Stack
from tests.worker.training.jobs import OF_TRAINING

from talweg.client import Client, Job, read_jobs
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker import data
from talweg.worker.data import DataBundle

EXAMPLES = Path(__file__).parents[2] / "client/examples"
TRAINED = (
    *sorted(path.stem for path in EXAMPLES.glob("multiclass_digits*.yaml")),
    "augmentation_digits",
    "curriculum_digits",
    "detection_scenes",
    "diabetes_losses",
    "feature_network",
    "gan_ring",
    "image_translation_scenes",
    "metric_learning_digits",
    "metric_learning_pairs",
    "multitask_scenes",
    "ordinal_diabetes",
    "segmentation_scenes",
    "self_supervised_digits",
    "vae_digits",
)
"""Examples that tests of their own train, most of them here, and that must not be warned of.

Those of scenes are shortened; `make faults` trains segmentation and two heads to their end.
"""


@dataclass(frozen=True)
class Ran:
    """An example that ended SUCCEEDED and was delivered."""

    spec: JobSpec
    """Filled."""
    metrics: dict[str, float]
    """The last value of each."""
    run_id: str
    """Of the run in MLflow."""

    @property
    def bundle(self) -> DataBundle:
        """The data as the job saw it: the same split."""
        return data.load(self.spec)

    @property
    def plots(self) -> set[str]:
        """Names of the pictures in MLflow."""
        items = mlflow.MlflowClient().list_artifacts(self.run_id, "plots")
        return {Path(item.path).stem for item in items}

    def predicts(self) -> tuple[int, ...]:
        """Load the model from MLflow and give the shape of what it says of its example."""
        run = mlflow.get_run(self.run_id)
        assert run.outputs is not None
        (model,) = run.outputs.model_outputs
        loaded = mlflow.pyfunc.load_model(f"models:/{model.model_id}")
        predicted = np.asarray(loaded.predict(loaded.metadata.load_input_example()))
        assert np.isfinite(predicted).all()
        return predicted.shape


def assert_unwarned(job: Job) -> None:
    """Nothing was wrong with a job's training."""
    assert not [warning for warning in job.message.warnings if warning.kind in OF_TRAINING]


def run_example(stack: Stack, name: str, *changes: str, timeout: float = 1800) -> Ran:
    """Submit an example, and wait until it has succeeded unwarned and stand in MLflow.

    Args:
        stack: Where it runs.
        name: The file's, without its ending.
        changes: What shortens it, such as ``training.epochs=1``.
        timeout: Seconds for the training.
    """
    assert name in TRAINED
    mlflow.set_tracking_uri(stack.tracking)
    (spec,) = read_jobs(EXAMPLES / f"{name}.yaml", overrides=changes)
    with Client(stack.address) as client:
        job = client.submit(spec)
        result = job.wait(timeout).result()
        wait_until(lambda: job.refresh().message.tracking.complete, timeout=120, what="delivered")
        assert_unwarned(job)
        return Ran(job.spec, dict(result.metrics), job.message.tracking.run_id)
