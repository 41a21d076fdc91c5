"""Spools as training processes leave them, without training."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import mlflow
import torch
from mlflow.entities import Run
from torch import Tensor, nn

from talweg.spec import job_id, to_dict
from talweg.v1.jobs_pb2 import Job, Outcome
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.workers_pb2 import Assignment
from talweg.worker import data, models, tasks
from talweg.worker.artifacts import predictor as kept
from talweg.worker.settings import Settings
from talweg.worker.tasks import Predictions
from talweg.worker.tracking import spool
from talweg.worker.tracking.spool import Point, SpoolWriter
from talweg.worker.training.state.trainable import trainable

SUCCEEDED = Outcome(state=Job.SUCCEEDED)


def writer_of(assignment: Assignment, folder: Path) -> SpoolWriter:
    """Return the spool of a claimed job, begun."""
    writer = SpoolWriter(
        folder, job_id=job_id(assignment.lease.job), attempt=assignment.lease.attempt
    )
    spec = to_dict(assignment.spec)
    writer.begin(worker="test", spec=spec, project=assignment.project)
    writer.data(
        name="diabetes", digest="0123456789abcdef" * 4, class_names=[], target_names=["score"]
    )
    return writer


def losses(steps: Iterable[int], *, at_ms: int = 1_700_000_000_000) -> Sequence[Point]:
    """Return a point a step, each with a value of its own."""
    return [(step, at_ms + step, {"train/loss": 1.0 / step, "lr": 0.01}) for step in steps]


@dataclass(frozen=True)
class Trained:
    """A network that stands for a trained one, and what it says."""

    network: nn.Module
    raw: Tensor
    """The test inputs as they come from the data."""
    predictions: Predictions


def keep_network(writer: SpoolWriter, spec: JobSpec) -> Trained:
    """Leave a network's outputs in a spool, as the worker does."""
    bundle = data.load(spec)
    task = tasks.make(spec, bundle)
    bare = models.build(spec.model, bundle.inputs.shape, task.num_outputs, seed=3)
    task.start(bare)
    network = trainable(bare, task.criterion)
    # Statistics of batch normalisation that are not those of the start.
    network.train()(bundle.train.x[:64])
    network.eval()
    with torch.inference_mode():
        meter = task.accumulator(network)
        meter.add(tasks.Batch(task.arrays(bundle.test)))
        judged = meter.result()
    assert judged.predictions is not None
    shown = {name: torch.as_tensor(array) for name, array in judged.shown.items()}
    writer.tensors(spool.PREDICTIONS, shown)
    writer.tensors(spool.WEIGHTS, network.state_dict())
    writer.document(spool.MODEL, kept.describe(spec, bundle))
    writer.tensors(spool.EXAMPLE, {"x": kept.example(spec, bundle)})
    raw = bundle.test.x.double()
    if bundle.inputs.scaler is not None:
        raw = torch.from_numpy(bundle.inputs.scaler.unscale(raw.numpy()))
    return Trained(network, raw.float(), judged.predictions)


def runs_of(client: mlflow.MlflowClient, spec: JobSpec, job: str) -> list[Run]:
    """Return all runs of a job that MLflow shows."""
    experiment = client.get_experiment_by_name(spec.experiment)
    if experiment is None:
        return []
    return list(
        client.search_runs([experiment.experiment_id], f"tags.`talweg.job` = '{job_id(job)}'")
    )


def steps_of(client: mlflow.MlflowClient, run: Run, metric: str) -> list[int]:
    """Return the steps of a metric's points, each as often as MLflow holds it."""
    return sorted(point.step for point in client.get_metric_history(run.info.run_id, metric))


def spool_files(settings: Settings) -> list[str]:
    return sorted(name for name in os.listdir(settings.spool_dir) if not name.startswith("."))
