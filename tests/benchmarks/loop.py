"""What the training loop costs over a hand-written one of the same job, in one process.

Run with `make bench`, or alone: `python -m tests.benchmarks.loop`. Both sides train the same
network on the same batches and end in the same weights, bit for bit. The jobs have the settings
that a job has by default: the guard, metrics and the arenas of small networks among them. What
both do before their first step and after their last is left out.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from tests.benchmarks import handwritten
from tests.benchmarks.pairs import Ratio, one_thread, ratio, timed
from tests.benchmarks.table import Row, render
from torch import Tensor, nn
from torch.nn import functional as F

from talweg.spec import fill, from_dict
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker import data, models, tasks, training
from talweg.worker.training.loop import train
from talweg.worker.training.setup import Setup, set_up

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
    num_pairs: int
    """How often both sides are timed."""
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
        num_pairs=31,
        goal=0.80,
    ),
    Case(
        name="MLP, 1 million parameters, batches of 64",
        spec=_REGRESSION | {"model": {"mlp": {"hidden": [950, 950]}}},
        loss=F.mse_loss,
        batch_size=64,
        steps=100,
        num_pairs=15,
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
        num_pairs=15,
        goal=1.02,
    ),
    Case(
        name="transformer, 25 million parameters, batches of 16, 16 tokens each",
        spec={
            "task": "multiclass",
            "dataset": "digits",
            "model": {"transformer": {"width": 512, "depth": 8, "heads": 8}},
            "loss": "cross_entropy",
        },
        loss=F.cross_entropy,
        batch_size=16,
        steps=4,
        num_pairs=9,
        goal=1.02,
    ),
)


def compare(case: Case, num_pairs: int | None = None) -> Ratio:
    """Times a case's two sides.

    Args:
        case: The job.
        num_pairs: How often; as the case says where None.

    Raises:
        AssertionError: The two sides end in different weights.
    """
    spec = spec_of(case)
    bundle = data.load(spec)
    task = tasks.make(spec, bundle)
    arrays = task.arrays(bundle.train)
    x, y = arrays["x"], arrays["target"]

    def initial() -> nn.Module:
        return models.build(spec.model, bundle.inputs.shape, task.num_outputs, seed=0)

    ended: list[nn.Module] = []

    def by_hand() -> float:
        model = initial()
        ended.append(model)
        work = partial(handwritten.train, model, case.loss, x, y, steps=case.steps, seed=0)
        return timed(partial(work, batch_size=case.batch_size, learning_rate=LEARNING_RATE))()

    def ours() -> float:
        report = training.RecordingReporter()
        setup = set_up(spec, torch.device("cpu"), report)
        ended.append(setup.state.model)
        return timed(partial(train_by, setup, report))()

    with one_thread():
        ours()
        by_hand()
        states = [model.state_dict() for model in ended]
        assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
        return ratio(ours, by_hand, num_pairs=num_pairs or case.num_pairs)


def train_by(setup: Setup, report: training.Reporter) -> None:
    """The loop, as a run calls it."""
    ending = train(
        setup.step,
        plan=setup.plan,
        batches=setup.batches,
        evaluator=setup.evaluator,
        report=report,
        control=training.NeverStop(),
    )
    assert ending is None


def num_parameters(case: Case) -> int:
    """Return of the network."""
    spec = spec_of(case)
    bundle = data.load(spec)
    outputs = tasks.make(spec, bundle).num_outputs
    built = models.build(spec.model, bundle.inputs.shape, outputs, seed=0)
    return sum(parameter.numel() for parameter in built.parameters())


def spec_of(case: Case) -> JobSpec:
    """Return the case as a job."""
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
    """Return the loop's figures."""
    return [
        compare(case).row(
            f"loop against a hand-written one: {case.name}",
            goal=case.goal,
            remark=f"{num_parameters(case):,} parameters, same weights bit for bit",
        )
        for case in CASES
    ]


if __name__ == "__main__":
    print(render(measure()))
