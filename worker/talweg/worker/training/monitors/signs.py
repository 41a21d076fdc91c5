"""What gradients, losses and outputs show of a training that does not go well.

Each sign is a function of what was seen now and then, and has bounds so far out that healthy
training does not come near them. `health` looks, and warns once of each.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from talweg.v1.jobs_pb2 import Warning

FAR_APART = 1e5
"""How many times one layer's gradients must be smaller than another's to count as vanished."""
GROWN = 1e4
"""How many times larger than at first a layer's gradients must be to count as exploded."""
LOOKS_IN_A_ROW = 3
"""Looks that must agree, so that what a single batch does says nothing."""
LEAST_DEAD = 0.5
"""Share of a layer's units that must be dead."""
CONSTANT = 1e-6
"""A loss that has moved by less than this share of itself since the first step is constant."""
_MOST_NAMED = 5


@dataclass(frozen=True)
class Look:
    """The gradients of one step."""

    step: int
    """The step."""
    loss: float
    """Its loss."""
    norms: Mapping[str, float]
    """Norm of each layer's gradients, in the order of the model's layers."""
    zero: frozenset[str]
    """The layers whose gradients are 0 in every element: a norm of 0 may be underflow."""


def zero_gradients(looks: Sequence[Look]) -> Warning | None:
    """Warn of layers that have had no gradient at all, in each of the looks."""
    dead = [name for name in looks[-1].norms if all(name in look.zero for look in looks)]
    # A loss of 0 leaves nothing to learn, and rightly has no gradient.
    if not dead or any(look.loss == 0 for look in looks):
        return None
    are = "has" if len(dead) == 1 else "have"
    return Warning(
        kind=Warning.ZERO_GRADIENT,
        field="model",
        layers=dead,
        message=(
            f"{_named(dead)} {are} had gradients of exactly 0 {_at(looks)}, and so "
            f"{'does' if len(dead) == 1 else 'do'} not learn: their units may be dead, or the "
            "loss may not depend on them. Try a lower learning rate, leaky_relu or batch_norm, "
            "and check the loss."
        ),
    )


def vanishing(looks: Sequence[Look]) -> Warning | None:
    """Warn of layers whose gradients are lost on their way back from a later one."""
    small = set.intersection(*(set(_lost(look)) for look in looks))
    if not small:
        return None
    last = looks[-1].norms
    layers = [name for name in last if name in small]
    largest = max(last, key=lambda name: last[name])
    return Warning(
        kind=Warning.VANISHING_GRADIENT,
        field="model",
        layers=layers,
        message=(
            f"The gradients of {_named(layers)} are vanishing: {last[layers[0]]:.1e} while those "
            f"of {largest} are {last[largest]:.1e}, {_at(looks)}. The first layers hardly learn: "
            "try relu instead of sigmoid or tanh, batch_norm, or fewer layers."
        ),
    )


def exploding(looks: Sequence[Look], first: Mapping[str, float]) -> Warning | None:
    """Warn of gradients that grow on their way back, or that have grown since the first looks.

    Args:
        looks: The last ones.
        first: Each layer's largest norm in the first looks.
    """
    on_the_way = set.intersection(*(set(_gained(look)) for look in looks))
    grown = set.intersection(
        *(
            {name for name, norm in look.norms.items() if norm > GROWN * first.get(name, norm) > 0}
            for look in looks
        )
    )
    last = looks[-1].norms
    layers = [name for name in last if name in on_the_way | grown]
    if not layers:
        return None
    worst = max(layers, key=lambda name: last[name])
    if worst in grown:
        compared = f"while they started at {first[worst]:.1e}"
    else:
        smallest = min(last, key=lambda name: last[name] or float("inf"))
        compared = f"while those of {smallest} are {last[smallest]:.1e}"
    return Warning(
        kind=Warning.EXPLODING_GRADIENT,
        field="model",
        layers=layers,
        message=(
            f"The gradients of {_named(layers)} are exploding: {last[worst]:.1e} {compared}, "
            f"{_at(looks)}. Try a lower learning rate, training.clip_norm or batch_norm, and "
            "standardised inputs."
        ),
    )


def constant_loss(
    first: float, since: Sequence[float], *, step: int, learning_rate: float
) -> Warning | None:
    """Warn of a loss that is what it was in the first step.

    Args:
        first: The first step's loss.
        since: The last losses.
        step: The step.
        learning_rate: At that step.
    """
    if any(abs(loss - first) > CONSTANT * abs(first) for loss in since):
        return None
    advice = (
        f"Try a higher learning rate than {learning_rate:g}, and check"
        if first
        else "Check its weights and margins, and"
    )
    return Warning(
        kind=Warning.LOSS_CONSTANT,
        field="loss",
        message=(
            f"The loss is {first:.6g} since the first step, and still at step {step}: the model "
            f"does not learn. {advice} whether the loss depends on the outputs."
        ),
    )


def dead_units(dead: Mapping[str, tuple[int, int]], *, rows: int, step: int) -> Warning | None:
    """Warn of layers whose units mostly give nothing.

    Args:
        dead: For each layer its units that gave 0 for every sample, and all its units.
        rows: Samples that were seen.
        step: The last of their steps.
    """
    layers = {n: counts for n, counts in dead.items() if counts[0] >= LEAST_DEAD * counts[1] > 0}
    if not layers:
        return None
    counted = ", ".join(
        f"{count} of {units} of {name}"
        for name, (count, units) in list(layers.items())[:_MOST_NAMED]
    )
    return Warning(
        kind=Warning.DEAD_UNITS,
        field="model",
        layers=list(layers),
        message=(
            f"Units output 0 for each of {rows} samples up to step {step}: {counted}. They are "
            "dead: they have no gradient and cannot recover. Try a lower learning rate, warm-up, "
            "leaky_relu or batch_norm."
        ),
    )


def _lost(look: Look) -> list[str]:
    """Return the layers before the one of the largest gradients whose own are far smaller."""
    names = list(look.norms)
    top = max(names, key=lambda name: look.norms[name])
    bound = look.norms[top] / FAR_APART
    before = names[: names.index(top)]
    return [name for name in before if look.norms[name] < bound and name not in look.zero]


def _gained(look: Look) -> list[str]:
    """Return the layers before the one of the smallest gradients whose own are far larger."""
    names = [name for name in look.norms if look.norms[name] > 0]
    if not names:
        return []
    low = min(names, key=lambda name: look.norms[name])
    bound = look.norms[low] * FAR_APART
    return [name for name in names[: names.index(low)] if look.norms[name] > bound]


def _named(layers: Sequence[str]) -> str:
    more = f" and {len(layers) - _MOST_NAMED} more" if len(layers) > _MOST_NAMED else ""
    return ", ".join(layers[:_MOST_NAMED]) + more


def _at(looks: Sequence[Look]) -> str:
    *before, last = (str(look.step) for look in looks)
    return f"at steps {', '.join(before)} and {last}" if before else f"at step {last}"
