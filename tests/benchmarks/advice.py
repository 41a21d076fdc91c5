"""What the advice on wrong labels and on rare labels rests on, as jobs of the service.

    python -m tests.benchmarks.advice

Three seeds each decide the split, the wrong labels, the first weights and the batches; test labels
stay right. About a minute on two cores.
"""

import dataclasses
import statistics
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from talweg.spec import fill, from_dict
from talweg.v1.jobs_pb2 import Job
from talweg.worker import data, diagnostics
from talweg.worker.data import DataBundle, DataSplit
from talweg.worker.training import NeverStop, RecordingReporter

SEEDS = range(3)
EPOCHS = 30
WRONG = 0.2
CLASSES: Mapping[str, Any] = {
    "cross_entropy": "cross_entropy",
    "label smoothing 0.1": {"cross_entropy": {"label_smoothing": 0.1}},
    "focal": "focal",
    "generalized_ce": "generalized_ce",
    "symmetric_ce": "symmetric_ce",
}
ROBUST = {
    "expression": {
        "formula": "(1 - exp(q * log_sigmoid((2 * target - 1) * pred))) / q",
        "params": {"q": 0.7},
    }
}
ANSWERS: Mapping[str, Any] = {
    "bce_with_logits": "bce_with_logits",
    "focal_binary": "focal_binary",
    "generalised, as a formula": ROBUST,
}
ASYMMETRIC: Mapping[str, Any] = {"asymmetric_multilabel": "asymmetric_multilabel"}
BALANCED: Mapping[str, Any] = {
    "pos_weight: balanced": {"bce_with_logits": {"pos_weight": "balanced"}}
}


def wrong(bundle: DataBundle, share: float, seed: int) -> DataBundle:
    """Make a share of the training labels wrong: another class, or the other answer."""
    y, generator = bundle.train.y, torch.Generator().manual_seed(seed)
    hit = torch.rand(y.shape, generator=generator) < share
    changed: Tensor
    if y.is_floating_point():
        changed = 1 - y
    else:
        classes = int(y.max()) + 1
        changed = (y + torch.randint(1, classes, y.shape, generator=generator)) % classes
    train = DataSplit({"x": bundle.train.x, "y": torch.where(hit, changed, y)})
    return dataclasses.replace(bundle, train=train)


def run(task: str, dataset: Any, loss: Any, *, seed: int, share: float) -> dict[str, float]:
    """Train once, and give each metric's last value."""
    job = {
        "task": task,
        "dataset": dataset,
        "model": "mlp",
        "loss": loss,
        "split": {"seed": seed},
        "training": {"epochs": EPOCHS, "seed": seed},
    }
    load, report = data.load, RecordingReporter()
    data.load = lambda spec: wrong(load(spec), share, seed) if share else load(spec)
    try:
        result = diagnostics.run(
            fill(from_dict(job)), report=report, control=NeverStop(), device="cpu"
        )
    finally:
        data.load = load
    assert result.state == Job.SUCCEEDED, result.message
    return {name: value for _, values in report.points for name, value in values.items()}


def compare(
    title: str, task: str, dataset: Any, losses: Mapping[str, Any], metric: str, share: float = 0
) -> None:
    """Print the mean and spread of a metric by loss."""
    print(f"\n{title}: {metric}")
    for name, loss in losses.items():
        runs = [run(task, dataset, loss, seed=seed, share=share) for seed in SEEDS]
        values = [one[f"test/{metric}"] for one in runs]
        print(f"{name:28}{statistics.mean(values):.3f}  (sd {statistics.stdev(values):.3f})")


def main() -> None:
    """Print every comparison."""
    compare("digits, 20 % wrong", "multiclass", "digits", CLASSES, "accuracy", WRONG)
    compare("digits, 40 % wrong", "multiclass", "digits", CLASSES, "accuracy", 2 * WRONG)
    compare("breast cancer, 20 % wrong", "binary", "breast_cancer", ANSWERS, "accuracy", WRONG)
    many = {"synthetic_multilabel": {"num_samples": 2000}}
    labels = {**ANSWERS, **ASYMMETRIC}
    compare("labels, 20 % wrong", "multilabel", many, labels, "f1_macro", WRONG)
    rare = {**ANSWERS, **ASYMMETRIC, **BALANCED}
    del rare["generalised, as a formula"]
    for num_samples in (600, 3000):
        few = {"num_samples": num_samples, "num_classes": 20, "mean_labels": 1}
        title = f"20 labels, about 1 a sample, {num_samples} samples"
        compare(title, "multilabel", {"synthetic_multilabel": few}, rare, "f1_macro")


if __name__ == "__main__":
    main()
