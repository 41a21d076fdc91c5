"""What is advised after a step that was not finite."""

import dataclasses
from typing import Any

import pytest

from talweg.worker.training.guard.hints import Evidence, hint, rising_steps

PLAIN = Evidence(
    bad_inputs=(), bad_targets=(), weights_finite=True, outputs=None, loss_finite=True,
    losses=(), learning_rate=0.25,
)  # fmt: skip


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        ({"bad_inputs": [7]}, ["inputs of sample 7 of the training split holds", "guard: skip"]),
        ({"bad_targets": range(7)}, ["targets of samples 0, 1, 2, 3, 4, … of", "hold non-finite"]),
        ({"weights_finite": False}, ["weights overflowed", "0.25"]),
        ({"losses": [1, 0.5, 1, 2, 4]}, ["increased for 3 steps, from 0.5 to 4.", "Lower the"]),
        ({"outputs": (-3e5, 2.0)}, ["outputs reached 3e+05", "±1e4"]),
        ({"outputs": (-3.0, 2.0), "loss_finite": False}, ["division by 0", "logarithm"]),
        ({}, ["0.25", "warm-up", "clip_norm"]),
        # Two steps up are chance, and a little up is noise.
        ({"losses": [3, 1, 2, 4]}, ["warm-up"]),
        ({"losses": [1.0, 1.1, 1.2, 1.3, 1.4]}, ["warm-up"]),
    ],
)
def test_hints(seen: dict[str, Any], words: list[str]) -> None:
    text = hint(dataclasses.replace(PLAIN, **seen))
    for each in words:
        assert each in text


def test_rising_steps_are_counted_from_the_end() -> None:
    assert [rising_steps(losses) for losses in ([], [1], [2, 1], [1, 2], [5, 1, 2, 3])] == [
        0, 0, 0, 1, 2,
    ]  # fmt: skip
