"""What the training loop costs over a hand-written one of the same job, in one process.

Run with `make bench`, or alone: `python -m tests.benchmarks.loop`. Both sides train the same
network on the same batches and end in the same weights, bit for bit. Time is processor time, and
only ratios of pairs that ran side by side are given: the machine may be busy with other things.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from tests.benchmarks import handwritten
from tests.benchmarks.table import Row, render
from torch import Tensor, nn
from torch.nn import functional as F

from talweg.spec import fill, from_dict
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker import data, models, tasks, training

NUM_PAIRS = 15
LEARNING_RATE = 1e-3


@dataclass(frozen=True)
class Case:
    """A job of which both sides are timed."""

    name: str
    """What the table calls it."""
    spec: Mapping[str, Any]
    """Task, data set, model and loss."""
    loss: Callable[[Tensor, Tensor], Tensor]
    """The same loss by torch."""
    batch_size: int
    """Samples in a batch."""
    steps: int
    """Optimizer steps in a run."""
    goal: float
    """What the ratio should not exceed."""


_REGRESSION = {
    "task": "regression",
    "dataset": {"synthetic_regression": {"num_samples": 4000, "num_features": 64}},
    "loss": "mse",
}
CASES = (
    Case(
        name="MLP, 10 thousand parameters, batches of 64",
        spec=_REGRESSION | {"model": {"mlp": {"hidden": [96, 38]}}},
        loss=F.mse_loss,
        batch_size=64,
        steps=1000,
        goal=1.10,
    ),
    Case(
        name="MLP, 1 million parameters, batches of 64",
        spec=_REGRESSION | {"model": {"mlp": {"hidden": [950, 950]}}},
        loss=F.mse_loss,
        batch_size=64,
        steps=100,
        goal=1.02,
    ),
    Case(
        name="convolutional network, 1 million parameters, batches of 64",
        spec={
            "task": "multiclass",
            "dataset": "digits",
            "model": {"convnet": {"channels": [64, 160, 320, 160]}},
            "loss": "cross_entropy",
        },
        loss=F.cross_entropy,
        batch_size=64,
        steps=30,
        goal=1.02,
    ),
)


@dataclass(frozen=True)
class Ratio:
    """Our time for a hand-written loop's."""

    median: float
    """Of all pairs."""
    low: float
    """Lower end of the median's interval, 95% or a little more."""
    high: float
    """Upper end."""
    num_parameters: int
    """Of the network."""


def compare(case: Case, num_pairs: int = NUM_PAIRS) -> Ratio:
    """Times pairs of runs, alternating which goes first.

    Raises:
        AssertionError: The two sides end in different weights.
    """
    spec = _spec(case)
    bundle = data.load(spec)
    task = tasks.make(spec, bundle)
    arrays = task.arrays(bundle.train)
    x, y = arrays["x"], arrays["target"]

    def initial() -> nn.Module:
        return models.build(spec.model, bundle.inputs.shape, task.num_outputs, seed=0)

    def by_hand() -> nn.Module:
        model = initial()
        handwritten.train(
            model,
            case.loss,
            x,
            y,
            steps=case.steps,
            batch_size=case.batch_size,
            learning_rate=LEARNING_RATE,
            seed=0,
        )
        return model

    def ours() -> nn.Module:
        report = training.RecordingReporter()
        result = training.run(spec, report=report, control=training.NeverStop())
        assert result.model is not None, result.message
        return result.model

    both = (ours, by_hand)
    results = [side().state_dict() for side in both]
    assert all(torch.equal(results[0][key], results[1][key]) for key in results[0])
    ratios = []
    for pair in range(num_pairs):
        seconds = {}
        for side in both if pair % 2 else reversed(both):
            started = time.process_time()
            side()
            seconds[side] = time.process_time() - started
        ratios.append(seconds[ours] / seconds[by_hand])
    low, high = median_interval(ratios)
    return Ratio(
        statistics.median(ratios), low, high, sum(p.numel() for p in initial().parameters())
    )


def median_interval(values: list[float]) -> tuple[float, float]:
    """The interval of order statistics that covers the median with 95% or a little more."""
    ordered = sorted(values)
    count = len(ordered)
    below = 0.0
    rank = 0
    # Each value lies below the median with probability ½.
    while rank < count // 2:
        below += math.comb(count, rank) / 2**count
        if below > 0.025:
            break
        rank += 1
    rank = max(rank, 1)
    return ordered[rank - 1], ordered[count - rank]


def _spec(case: Case) -> JobSpec:
    return fill(
        from_dict(
            {
                **case.spec,
                "optimizer": {"adamw": {"learning_rate": LEARNING_RATE}},
                # Without validation and test: the hand-written loop has none either.
                "split": {"train": 1, "validation": 0, "test": 0},
                "training": {"steps": case.steps, "batch_size": case.batch_size},
            }
        )
    )


def measure() -> list[Row]:
    """The loop's figures."""
    rows = []
    for case in CASES:
        ratio = compare(case)
        rows.append(
            Row(
                f"loop against a hand-written one: {case.name}",
                f"{ratio.median:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]",
                goal=f"{case.goal:.2f}",
                met=ratio.median <= case.goal,
                remark=(
                    f"median of {NUM_PAIRS} pairs and its 95% interval; "
                    f"{ratio.num_parameters:,} parameters, same weights bit for bit"
                ),
            )
        )
    return rows


if __name__ == "__main__":
    print(render(measure()))
