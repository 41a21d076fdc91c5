"""Random values of single fields, by what their descriptors say; formulas too."""

import math
import random
from collections.abc import Sequence

from talweg.spec.fields import Bounds, Field, Type
from talweg.spec.formulas import FUNCTIONS

SMALL: dict[str, Sequence[int]] = {
    "num_samples": (10, 11, 13, 40, 100),
    "DigitScenes.num_samples": (10, 12, 16),
    "num_features": (1, 2, 3, 7, 20),
    "num_informative": (1, 2, 3, 5, 10_000),
    "num_classes": (2, 3, 5, 10),
    "num_targets": (1, 2, 3),
    "hidden": (1, 2, 8),
    "channels": (1, 2, 4),
    "generator": (1, 2, 8),
    "critic": (1, 2, 8),
    "Adversarial.noise": (1, 2, 8),
    "width": (1, 2, 4, 8),
    "stages": (1, 2, 5),
    "blocks": (1, 2),
    "depth": (1, 2),
    "heads": (1, 2, 4),
    "expansion": (1, 2),
    "size": (1, 2, 8),
    "embedding_size": (1, 2, 8),
    "code": (1, 2, 8),
    "projection": (1, 2, 16),
    "hidden_factor": (1, 2),
    "bins": (1, 2, 8),
    "frequencies": (1, 2, 8),
    "branch": (0, 1, 2),
    "out_features": (1, 2, 10),
    "out_channels": (1, 2, 8),
    "output_size": (1, 2, 8),
    "steps": (1, 2, 3),
    "RateRange.steps": (20,),
    "epochs": (1, 2),
    "accumulation": (1, 2, 3),
    "LossLandscape.points": (5,),
    "LossLandscape.samples": (1, 7, 40),
    "one_batch_steps": (0, 1, 3),
    "critic_steps": (1, 2),
    "batch_size": (1, 2, 3, 8, 32, 1_000_000),
    "samples_per_class": (2, 4),
    "processes": (1,),
    "ranks": (2, 3, 5, 20, 1_000),
}
"""Sizes with which a few steps take a fraction of a second: by a field's name, or by its message's
and its own where others of the name have another meaning."""


def number_of(message: str, field: Field, rng: random.Random, *, wildness: float) -> float | int:
    """Draw a number within a field's bounds.

    Args:
        message: The name of the message that the field is of.
        field: Of numbers or integers.
        rng: Where chance comes from.
        wildness: The probability that it is at a bound or far from the usual.
    """
    small = SMALL.get(f"{message}.{field.name}") or SMALL.get(field.name)
    if field.type is Type.INTEGER:
        if small is not None:
            return rng.choice([each for each in small if field.bounds.allow(each)])
        return _integer(field, rng, wildness)
    return _real(field, rng, wildness)


def _integer(field: Field, rng: random.Random, wildness: float) -> int:
    low, high = field.range or (0, 2**31 - 1)
    bounds = field.bounds
    low = max(low, bounds.ge if bounds.ge is not None else low)
    high = min(high, bounds.le if bounds.le is not None else high)
    first, last = math.ceil(low), math.floor(high)
    if rng.random() < wildness:
        return rng.choice([first, min(first + 1, last), last])
    if isinstance(field.default, int) and rng.random() < 0.3:
        return field.default
    return rng.randint(first, min(last, first + 12))


def _real(field: Field, rng: random.Random, wildness: float) -> float:
    default = field.default if isinstance(field.default, float) else 1.0
    if rng.random() < wildness:
        drawn = [rng.choice(edges(field.bounds)), rng.choice([1e-30, 1e-8, 1e-3, 1e3, 1e8, 1e30])]
        rng.shuffle(drawn)
        drawn.append(edges(field.bounds)[0])
    else:
        drawn = [default * 2 ** rng.uniform(-3, 3), rng.random(), default, *edges(field.bounds)]
    return next(each for each in drawn if _taken(field.bounds, each))


def edges(bounds: Bounds) -> list[float]:
    """Return the least and the largest number that bounds allow, as float32 holds them."""
    low = next((each for each in (bounds.gt, bounds.ge) if each is not None), -1e30)
    high = next((each for each in (bounds.lt, bounds.le) if each is not None), 1e30)
    return [_nearest(bounds, low, high), _nearest(bounds, high, low)]


def _nearest(bounds: Bounds, edge: float, to: float) -> float:
    step = 2.0**-126 if edge == 0 else abs(edge) * 2.0**-23
    return edge if _taken(bounds, edge) else edge + math.copysign(step, to - edge)


def _taken(bounds: Bounds, value: float) -> bool:
    return bounds.allow(value) and bounds.allow_in_float32(value)


def formula(rng: random.Random, *, depth: int = 4) -> str:
    """Draw a formula over pred and target; not all of them have a value for each sample."""
    return f"{_term(rng, depth)} + {rng.choice(['pred', '(pred - target)**2', 'abs(pred)'])}"


def _term(rng: random.Random, depth: int) -> str:
    if depth == 0 or rng.random() < 0.2:
        return rng.choice(["pred", "target", "k", "0", "1", "2.5", "1e-30", "1e30"])
    if rng.random() < 0.5:
        operator = rng.choice(["+", "-", "*", "/", "**"])
        return f"({_term(rng, depth - 1)} {operator} {_term(rng, depth - 1)})"
    name = rng.choice(list(FUNCTIONS))
    function = FUNCTIONS[name]
    terms = [
        _mask(rng, depth - 1) if place in function.masks else _term(rng, depth - 1)
        for place in range(len(function.arguments))
    ]
    if function.reduces and rng.random() < 0.5:
        terms.append(str(rng.choice([0, 1, -1])))
    return f"{name}({', '.join(terms)})"


def _mask(rng: random.Random, depth: int) -> str:
    operator = rng.choice([">", ">=", "<", "<=", "==", "!="])
    mask = f"({_term(rng, max(depth, 0))} {operator} {_term(rng, max(depth, 0))})"
    return f"~{mask}" if rng.random() < 0.2 else mask
