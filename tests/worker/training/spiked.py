"""Tiny jobs of every task, with steps whose batch holds samples that are finite and far off."""

from collections.abc import Collection
from typing import Any

import torch
from tests.worker.training.jobs import job
from tests.worker.training.poisoned import CPU, Run
from torch import Tensor

from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.tasks import Batch

MLP = {"mlp": {"hidden": [16]}}
UNET = {"unet": {"channels": [4], "patch": 4, "batch_norm": False}}
SCENES = {"digit_scenes": {"num_samples": 60}}
FAMILIES: dict[str, dict[str, Any]] = {
    "regression": {"model": MLP, "loss": "huber"},
    "binary": {"dataset": "breast_cancer", "model": MLP, "loss": "bce_with_logits"},
    "multiclass": {"dataset": "wine", "model": MLP, "loss": "cross_entropy"},
    "multilabel": {
        "dataset": {"synthetic_multilabel": {"num_samples": 300}},
        "model": MLP,
        "loss": "bce_with_logits",
    },
    "ordinal": {"model": MLP, "loss": "coral"},
    "metric_learning": {
        "dataset": "digits",
        "model": {"embedder": {"trunk": MLP, "size": 6, "normalize": False}},
        "loss": "contrastive",
    },
    "segmentation": {"dataset": SCENES, "model": UNET, "loss": "cross_entropy"},
    "image_translation": {"dataset": SCENES, "model": UNET, "loss": "mse"},
    "detection": {
        "dataset": {"digit_scenes": {"num_samples": 120}},
        "model": {"detector": {"channels": [4], "stride": 8}},
        "loss": "detection",
        "optimizer": {"adamw": {"learning_rate": 0.01}},
        "training": {"batch_size": 16, "steps": 90},
    },
    "vae": {
        "dataset": "wine",
        "model": {"autoencoder": {"code": 3, "hidden": [8]}},
        "loss": {"vae": {"recon": "gaussian"}},
    },
    "self_supervised": {
        "dataset": "wine",
        "model": {"embedder": {"trunk": MLP, "size": 6}},
        "loss": "barlow_twins",
        "training": {"batch_size": 32, "steps": 90},
    },
    "gan": {
        "dataset": {"gaussian_ring": {"num_samples": 400}},
        "model": {"adversarial": {"generator": [8], "critic": [8]}},
        "loss": {"gan": {"form": "wgan"}},
        # So that it is the critic's turn ten steps before the end.
        "training": {"steps": 51},
    },
    "multitask": {
        "task": {"multitask": {"heads": ["segmentation", "depth"]}},
        "dataset": SCENES,
        "model": {"multi_head": {"trunk": UNET}},
        "loss": {"uncertainty": {"losses": ["cross_entropy", "mae"]}},
    },
}
"""A job of each task."""
OF_BATCHES = {"detection", "self_supervised"}
"""Tasks whose networks normalise their batches, so that inputs bound what a step can do: here the
whole batch is blank, as that of a dead camera, and its loss is raised."""
RAISED = 1e3
"""What the loss of a blank batch is multiplied by. What normalisation makes of a constant alone is
rounding, which differs from one process to the next."""
ROW = 3
"""The place in its batch of the sample that is far off."""
FACTOR = -1e4
"""What its inputs are multiplied by."""


def spec(task: str, *, spikes: Any = "warn", **fields: Any) -> JobSpec:
    training = {
        "steps": 50,
        "batch_size": 8,
        "spikes": spikes,
        "log_every_steps": 1,
        "evaluate_every_epochs": 5,
        **FAMILIES[task].get("training", {}),
        **fields.pop("training", {}),
    }
    return job(**{"task": task, **FAMILIES[task], **fields, "training": training})


def bad_step(spec: JobSpec) -> int:
    """Return the step in which a test puts samples that are far off."""
    return spec.training.steps - 10


class Spiked(Run):
    """A run in which a sample of chosen steps is far off, or all of them are blank."""

    def __init__(
        self, spec: JobSpec, steps: Collection[int] = (), *, device: torch.device = CPU
    ) -> None:
        super().__init__(spec, dict.fromkeys(steps, "far"), device)
        self._is_blank = spec.task.WhichOneof("kind") in OF_BATCHES

    def _changed(self, batch: Batch) -> Batch:
        if self._way != "far":
            return batch
        arrays = {name: array.clone() for name, array in batch.arrays.items()}
        if self._is_blank:
            arrays["x"].zero_()
        else:
            arrays["x"][ROW] *= FACTOR
        return Batch(arrays, batch.share)

    def _loss_of(self, batch: Batch) -> Tensor:
        loss = super()._loss_of(batch)
        return RAISED * loss if self._is_blank and not batch.arrays["x"].any() else loss
