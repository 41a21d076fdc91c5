"""What training on the digits shows of losses: `python -m tests.worker.losses.measured`.

Every job is one of the service's own, with its defaults: an mlp of two layers of 64 units, AdamW
at 0.001, batches of 32. Seeds decide the split, the first weights and the batches.
"""

import dataclasses
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from talweg.spec import fill, from_dict
from talweg.v1.jobs_pb2 import Job
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker import data, training
from talweg.worker.data import DataBundle, DataSplit
from talweg.worker.training import NeverStop, RecordingReporter

SEEDS = range(5)
EPOCHS = 30
LONG_TAIL: dict[str, Any] = {
    "cross_entropy": "cross_entropy",
    "focal": "focal",
    "cross_entropy with balanced weights": {"cross_entropy": {"weight": "balanced"}},
    "logit_adjusted": "logit_adjusted",
}
"""The losses that are compared on classes of which some are rare, by what to call them."""
SMOOTHING = (0.0, 0.1, 0.2)

# Training samples of the most frequent class, and how many times as many as of the rarest.
_MOST, _TIMES = 130, 50


def long_tail(bundle: DataBundle) -> DataBundle:
    """Thin out the training digits: 130 of 0, then ever fewer, down to 3 of 9. The test stays."""
    x, y = bundle.train.x, bundle.train.y
    counts = [round(_MOST * _TIMES ** (-digit / 9)) for digit in range(10)]
    kept = torch.cat([(y == c).nonzero()[:n, 0] for c, n in enumerate(counts)])
    return dataclasses.replace(bundle, train=DataSplit({"x": x[kept], "y": y[kept]}))


@contextmanager
def thinned() -> Iterator[None]:
    """Within it, jobs train on the long tail."""
    load = data.load
    data.load = lambda spec: long_tail(load(spec))
    try:
        yield
    finally:
        data.load = load


def run(loss: Any, seed: int, **changed: Any) -> dict[str, float]:
    """Train on the digits, and give each metric's last value."""
    points = _points(loss, seed, **{"training": {"epochs": EPOCHS, "seed": seed}, **changed})
    return {name: value for _, values in points for name, value in values.items()}


def first_loss(model: Any, seed: int, *, standardised: bool) -> float:
    """Give the cross-entropy of all training digits before the first step."""
    changed = {
        "model": model,
        "training": {"steps": 1, "seed": seed, "batch_size": 10_000},
        "preprocessing": {"standardise_inputs": standardised},
    }
    return _points("cross_entropy", seed, **changed)[0][1]["train/loss"]


def _points(loss: Any, seed: int, **changed: Any) -> list[tuple[int, dict[str, float]]]:
    job = {
        "task": "multiclass",
        "dataset": "digits",
        "model": "mlp",
        "loss": loss,
        "split": {"seed": seed},
        **changed,
    }
    spec: JobSpec = fill(from_dict(job))
    report = RecordingReporter()
    result = training.run(spec, report=report, control=NeverStop(), device="cpu")
    assert result.state == Job.SUCCEEDED, result.message
    return report.points


def on_long_tail() -> dict[str, list[float]]:
    """Give the macro F1 on the test digits by loss, one a seed."""
    with thinned():
        return {
            name: [run(loss, seed)["test/f1_macro"] for seed in SEEDS]
            for name, loss in LONG_TAIL.items()
        }


def by_smoothing() -> dict[float, tuple[list[float], list[float]]]:
    """Give accuracy and ECE on the test digits by label_smoothing, one a seed."""
    found = {}
    for share in SMOOTHING:
        runs = [run({"cross_entropy": {"label_smoothing": share}}, seed) for seed in SEEDS]
        found[share] = [one["test/accuracy"] for one in runs], [one["test/ece"] for one in runs]
    return found


def at_first() -> dict[str, list[float]]:
    """Give the first losses of 12 seeds each by inputs and model."""
    cases: list[tuple[str, Any, bool]] = [
        ("mlp, inputs in [0, 1]", "mlp", False),
        ("mlp, inputs standardised", "mlp", True),
        ("linear, inputs standardised", "linear", True),
        ("convnet, inputs standardised", "convnet", True),
    ]
    return {
        name: [first_loss(model, seed, standardised=standardised) for seed in range(12)]
        for name, model, standardised in cases
    }


def _line(name: str, *columns: Sequence[float]) -> str:
    cells = [f"{statistics.mean(c):.4f} (sd {statistics.stdev(c):.4f})" for c in columns]
    return f"{name:40}" + "  ".join(cells)


if __name__ == "__main__":
    print("macro F1 on the long tail")
    for loss_name, f1 in on_long_tail().items():
        print(_line(loss_name, f1))
    print("\naccuracy and ECE by label_smoothing")
    for smoothing, (accuracy, ece) in by_smoothing().items():
        print(_line(str(smoothing), accuracy, ece))
    print("\nfirst loss")
    for case_name, first in at_first().items():
        print(_line(case_name, first))
