"""What it costs that training is watched: warnings while it trains, spikes and the guard's policy.

The loop with all of them against the loop with none, for the same job, in one process. Run with
`make bench`, or alone: `python -m tests.benchmarks.watching`.
"""

from functools import partial
from typing import Any, cast

import torch
from tests.benchmarks import loop
from tests.benchmarks.pairs import one_thread, ratio, timed
from tests.benchmarks.table import Row, render

from talweg.worker import training
from talweg.worker.training.guard.policies import GuardPolicy
from talweg.worker.training.guard.spike_policies import SpikeGuard
from talweg.worker.training.monitors.health import Health
from talweg.worker.training.setup import Setup, set_up

GOAL = 1.01
# Watching costs the same for each network but for its size: most, by share, for a small one.
CASE = loop.CASES[0]


class Nothing:
    """Neither looks nor decides."""

    keeps = False

    def jump(self, *_: Any) -> None:
        """See nothing."""

    def add(self, *_: Any) -> None:
        """Do nothing."""

    def look(self, *_: Any) -> None:
        """Do nothing."""

    def passed(self, _: Any) -> None:
        """Do nothing."""


def _train(*, watched: bool) -> float:
    report = training.RecordingReporter()
    setup: Setup = set_up(loop.spec_of(CASE), torch.device("cpu"), report)
    if not watched:
        setup.step.health = cast(Health, Nothing())
        setup.step.policy = cast(GuardPolicy, Nothing())
        setup.step.spikes = cast(SpikeGuard, Nothing())
    return timed(partial(loop.train_by, setup, report))()


def measure() -> list[Row]:
    """Return the figure of watching."""
    with one_thread():
        _train(watched=True)
        found = ratio(
            partial(_train, watched=True), partial(_train, watched=False), num_pairs=CASE.num_pairs
        )
    what = f"warnings, spikes and policy against none: {CASE.name}"
    return [found.row(what, goal=GOAL, remark=f"{CASE.steps} steps a run")]


if __name__ == "__main__":
    print(render(measure()))
