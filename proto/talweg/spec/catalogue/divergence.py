"""What the guard saw of a refused step, in lines for people."""

from collections.abc import Iterable
from itertools import zip_longest

from talweg.spec.errors import number_text
from talweg.v1.jobs_pb2 import Divergence

_MOST_NAMED = 8


def divergence_lines(seen: Divergence) -> list[str]:
    """Say what was refused, in which module, with which samples, and what to try.

    The losses and gradient norms before it are left to tables and plots.
    """
    where = f", first in module {seen.module}" if seen.module else ""
    lines = [f"at step {seen.step} the {seen.what} was {seen.value}{where}"]
    if seen.parameters:
        what = "bad weights" if seen.what == "weights" else "bad gradients"
        lines.append(f"{what}: {_some(seen.parameters)}")
    if seen.bad_samples:
        lines.append(f"non-finite samples: {_some(seen.bad_samples)}")
    if seen.samples:
        lines.append(
            f"samples of the step: {_some(_samples(seen))} (indices from 0 into the training "
            "split of the data)"
        )
    lines.append(f"learning rate: {number_text(seen.learning_rate)}")
    if seen.HasField("good_step"):
        good = seen.good_step
        lines.append(f"last good state: {f'after step {good}' if good else 'the initial state'}")
    if seen.policy:
        lines.append(f"training ended because {seen.policy}")
    if seen.hint:
        lines.append(seen.hint)
    return lines


def _samples(seen: Divergence) -> list[str]:
    turned = [f" rotated by {90 * turns}°" if turns else "" for turns in seen.quarter_turns]
    return [f"{a}{b}" for a, b in zip_longest(seen.samples, turned, fillvalue="")]


def _some(names: Iterable[object]) -> str:
    listed = list(map(str, names))
    more = f" and {len(listed) - _MOST_NAMED} more" if len(listed) > _MOST_NAMED else ""
    return ", ".join(listed[:_MOST_NAMED]) + more
