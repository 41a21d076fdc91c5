"""Every task but gan, which takes float32 alone, trains in bfloat16 and float16 by every loss."""

from collections.abc import Iterator
from typing import Any

import pytest
from tests.worker.training.jobs import DATASETS, job

from talweg.spec import check
from talweg.spec.rules.loss import losses_of
from talweg.v1.jobs_pb2 import Job
from talweg.v1.options_pb2 import TaskKind
from talweg.worker import diagnostics
from talweg.worker.training import NeverStop, NullReporter

SCENES = {"digit_scenes": {"num_samples": 20}}
UNET = {"unet": {"channels": [4, 8], "patch": 4}}
MLP = {"mlp": {"hidden": [8]}}
FAMILIES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    **{task: (dataset, (MLP, "tabular")) for task, dataset in DATASETS.items()},
    "segmentation": (SCENES, (UNET,)),
    "image_translation": (SCENES, (UNET,)),
    "detection": (SCENES, ({"detector": {"channels": [4], "stride": 8}},)),
    "metric_learning": ("digits", ("embedder",)),
    "self_supervised": ("digits", ("embedder",)),
    "vae": ("digits", ("autoencoder",)),
}
PARAMETERS: dict[str, dict[str, Any]] = {
    "multi_quantile": {"quantiles": [0.1, 0.9]},
    "expression": {"formula": "softplus(pred) - pred * target"},
}


def specs() -> Iterator[Any]:
    for task, (dataset, models) in FAMILIES.items():
        for name in losses_of(TaskKind.Value(task.upper())):
            if name in ("plugin", "sum"):
                continue
            for model in models:
                fields = {
                    "task": task,
                    "dataset": dataset,
                    "model": model,
                    "loss": {name: PARAMETERS.get(name, {})},
                    "outputs": {"model": False, "plots": False, "checkpoint": False},
                }
                kind = model if isinstance(model, str) else next(iter(model))
                if not check(job(**fields))[0]:
                    yield pytest.param(fields, id=f"{task}-{name}-{kind}")


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("fields", list(specs()))
def test_every_loss_trains_with_fewer_bits(fields: dict[str, Any], precision: str) -> None:
    training = {"steps": 2, "batch_size": 8, "precision": precision}
    spec = job(**{**fields, "training": training})
    result = diagnostics.run(spec, report=NullReporter(), control=NeverStop(), device="cpu")
    assert result.state == Job.SUCCEEDED, result.message
