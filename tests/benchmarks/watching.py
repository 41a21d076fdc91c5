"""What it costs that training is watched: warnings while it trains, and the guard's policy.

The loop with both against the loop with neither, for the same job, in one process. Run with
`make bench`, or alone: `python -m tests.benchmarks.watching`.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, cast

import torch
from tests.benchmarks import loop
from tests.benchmarks.pairs import one_thread, ratio, timed
from tests.benchmarks.table import Row, render

from talweg.worker import training
from talweg.worker.training.health import Health
from talweg.worker.training.policies import Fail
from talweg.worker.training.setup import Setup, set_up

GOAL = 1.01
# Smaller networks spend a larger part of a step in what is not arithmetic.
CASES = tuple(case for case in loop.CASES if "25 million" not in case.name)


class Nothing:
    """Neither looks nor decides."""

    def look(self, *_: Any) -> None:
        """Does nothing."""

    def passed(self, _: Any) -> None:
        """Does nothing."""


def _train(case: loop.Case, *, watched: bool) -> float:
    report = training.RecordingReporter()
    setup: Setup = set_up(loop.spec_of(case), torch.device("cpu"), report)
    if not watched:
        health, policy = cast(Health, Nothing()), cast(Fail, Nothing())
        setup = dataclasses.replace(setup, health=health, policy=policy)
    return timed(partial(loop.train_by, setup, report))()


def measure() -> list[Row]:
    """The figures of watching."""
    rows = []
    with one_thread():
        for case in CASES:
            watched, unwatched = (
                partial(_train, case, watched=True),
                partial(_train, case, watched=False),
            )
            watched()
            found = ratio(watched, unwatched, num_pairs=case.num_pairs)
            rows.append(
                found.row(
                    f"warnings and policy against neither: {case.name}",
                    goal=GOAL,
                    remark=f"{case.steps} steps a run",
                )
            )
    return rows


if __name__ == "__main__":
    print(render(measure()))
