"""Blocks that are computed again in the backward pass: the same result from less memory."""

from typing import Any

import pytest
from tests.worker.training.jobs import job
from tests.worker.training.poisoned import Run, same

from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.training import memory


def spec(again: bool, **training: Any) -> JobSpec:
    transformer = {"depth": 3, "width": 16, "dropout": 0.2, "gradient_checkpointing": again}
    return job(
        task="multiclass",
        dataset="digits",
        loss="cross_entropy",
        model={"transformer": transformer},
        training={"steps": 6, "batch_size": 16, **training},
    )


def ends(asked: JobSpec, bad: dict[int, str]) -> tuple[dict[str, Any], int]:
    """Return what was learnt, and how often the first block's attention ran while it was."""
    made = Run(asked, bad)
    runs = 0

    def count(*_: object) -> None:
        nonlocal runs
        runs += 1

    attention = made.setup.state.model.get_submodule("block1.attention")
    attention.register_forward_pre_hook(lambda module, _: count() if module.training else None)
    assert made.to_the_end() is None
    return made.learnt(), runs


@pytest.mark.parametrize(
    ("training", "bad"),
    [
        ({}, {}),
        ({"accumulation": 2, "clip_norm": 0.5}, {}),
        ({"precision": "bf16"}, {}),
        ({"guard": {"skip": {"max_share": 0.5}}}, {2: "inf loss"}),
    ],
    ids=["plain", "accumulated", "bf16", "a step refused"],
)
def test_what_is_learnt_is_the_same_bit_for_bit(
    training: dict[str, Any], bad: dict[int, str]
) -> None:
    kept, once = ends(spec(False, **training), bad)
    computed, twice = ends(spec(True, **training), bad)
    assert same(kept, computed)
    assert twice > once


def test_it_takes_less_memory() -> None:
    def kept(again: bool) -> int:
        size = memory._kept_by(Run(spec(again)).setup, 8)
        assert size is not None
        return size

    assert kept(True) < kept(False) / 2
