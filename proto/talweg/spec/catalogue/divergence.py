"""What the guard saw of a refused step, in lines for people."""

from collections.abc import Iterable
from itertools import zip_longest

from talweg.spec.errors import number_text
from talweg.v1.jobs_pb2 import Divergence, Spike

_MOST_NAMED = 8


def divergence_lines(divergence: Divergence) -> list[str]:
    """Say what was refused, in which module, with which samples, and what to try.

    The losses and gradient norms before it are left to tables and plots.
    """
    lines = [f"at step {divergence.step} the {divergence.what} was {divergence.value}"]
    if divergence.module:
        lines[0] += f", first in module {divergence.module}"
    if divergence.HasField("spike"):
        lines[0] += _height(divergence.spike)
        lines += _behind(divergence.spike)
    if divergence.parameters:
        what = "bad weights" if divergence.what == "weights" else "bad gradients"
        lines.append(f"{what}: {_some(divergence.parameters)}")
    if divergence.bad_samples:
        lines.append(f"non-finite samples: {_some(divergence.bad_samples)}")
    if divergence.samples:
        lines.append(
            f"samples of the step: {_some(_samples(divergence))} (indices from 0 into the "
            "training split of the data)"
        )
    lines.append(f"learning rate: {number_text(divergence.learning_rate)}")
    if divergence.HasField("good_step"):
        good = divergence.good_step
        lines.append(f"last good state: {f'after step {good}' if good else 'the initial state'}")
    if divergence.policy:
        lines.append(f"training ended because {divergence.policy}")
    if divergence.hint:
        lines.append(divergence.hint)
    return lines


def _height(spike: Spike) -> str:
    if spike.HasField("first"):
        return f", far above the first step's, {spike.first:.4g}"
    return (
        f", {spike.deviations:.3g} robust standard deviations above {spike.median:.4g}, "
        f"the median of the last {spike.num_steps} steps"
    )


def _behind(spike: Spike) -> list[str]:
    if not spike.samples:
        return []
    named = zip(spike.samples, spike.losses, strict=False)
    own = _some(f"{sample} ({loss:.3g})" for sample, loss in named)
    return [f"samples behind it, with the loss of each: {own}; median {spike.median_loss:.3g}"]


def _samples(divergence: Divergence) -> list[str]:
    turned = [f" rotated by {90 * turns}°" if turns else "" for turns in divergence.quarter_turns]
    return [f"{a}{b}" for a, b in zip_longest(divergence.samples, turned, fillvalue="")]


def _some(names: Iterable[object]) -> str:
    listed = list(map(str, names))
    more = f" and {len(listed) - _MOST_NAMED} more" if len(listed) > _MOST_NAMED else ""
    return ", ".join(listed[:_MOST_NAMED]) + more
