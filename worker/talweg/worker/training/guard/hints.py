"""What to try after a step that was not finite, by what is seen of it."""

from collections.abc import Sequence
from dataclasses import dataclass

LARGE_OUTPUT = 1e4
"""Outputs beyond this overflow where a loss raises them to a power or makes exponentials of them
in half precision, and are far outside what a trained network gives."""
_FEWEST_RISES = 3
_STEEP = 2.0


@dataclass(frozen=True)
class Evidence:
    """What is known of a step that was refused."""

    bad_inputs: Sequence[int]
    """Samples whose inputs hold what is not finite."""
    bad_targets: Sequence[int]
    """Samples whose targets do."""
    weights_finite: bool
    """Whether all weights are finite."""
    outputs: tuple[float, float] | None
    """Least and largest output of the last module; None where not reached, or not finite."""
    loss_finite: bool
    """Whether the loss is finite."""
    losses: Sequence[float]
    """The losses before it, oldest first."""
    learning_rate: float
    """The learning rate."""


def hint(evidence: Evidence) -> str:
    """Say what was probably wrong and what to do."""
    if evidence.bad_inputs:
        return _data("inputs", evidence.bad_inputs)
    if evidence.bad_targets:
        return _data("targets", evidence.bad_targets)
    lower = f"lower the learning rate, which was {evidence.learning_rate:g}"
    if not evidence.weights_finite:
        return f"The weights overflowed: {lower}."
    signs = [*_rises(evidence), *_outputs(evidence)]
    if signs:
        return f"{' '.join(signs)} {lower.capitalize()}, or set training.clip_norm."
    if evidence.outputs is not None and not evidence.loss_finite:
        return (
            "The outputs are finite but their loss is not: look for a division by 0, or the "
            "logarithm or root of a value that is not positive, in the loss or its inputs."
        )
    return f"{lower.capitalize()}, or use warm-up; training.clip_norm bounds single large steps."


def rising_steps(losses: Sequence[float]) -> int:
    """Count the steps at the end over which the loss rose each time."""
    count = 0
    while count + 1 < len(losses) and losses[-1 - count] > losses[-2 - count]:
        count += 1
    return count


def _data(what: str, samples: Sequence[int]) -> str:
    listed = ", ".join(map(str, samples[:5])) + (", …" if len(samples) > 5 else "")
    are = f"sample {listed} of the training split holds"
    if len(samples) > 1:
        are = f"samples {listed} of the training split hold"
    return (
        f"The {what} of {are} non-finite values: check the data, or skip such batches with "
        "training.guard: skip."
    )


def _rises(evidence: Evidence) -> list[str]:
    count = rising_steps(evidence.losses)
    if count < _FEWEST_RISES:
        return []
    first, last = evidence.losses[-1 - count], evidence.losses[-1]
    if last < _STEEP * first:
        return []
    return [f"The loss had increased for {count} steps, from {first:.3g} to {last:.3g}."]


def _outputs(evidence: Evidence) -> list[str]:
    if evidence.outputs is None:
        return []
    largest = max(abs(value) for value in evidence.outputs)
    if largest <= LARGE_OUTPUT:
        return []
    return [f"The model's outputs reached {largest:.3g}, beyond ±1e4."]
