"""Every number of a spec has bounds within which float32 can compute."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor

from talweg.spec import check_message
from talweg.spec.fields import Field, Type, fields
from talweg.v1.losses_pb2 import Huber
from talweg.v1.optimizers_pb2 import Adam
from talweg.v1.spec_pb2 import JobSpec, Training


def numbers(message: Descriptor, seen: set[str]) -> Iterator[tuple[Descriptor, Field]]:
    """All fields that hold floating point numbers, in a message and those that it holds."""
    if message.full_name in seen:
        return
    seen.add(message.full_name)
    for field in fields(message).values():
        if field.message is not None:
            yield from numbers(field.message, seen)
        elif field.type is Type.NUMBER:
            yield message, field


NUMBERS = list(numbers(JobSpec.DESCRIPTOR, set()))
every_number = pytest.mark.parametrize(
    ("message", "field"), NUMBERS, ids=[f"{m.name}.{f.name}" for m, f in NUMBERS]
)


# A formula says what is done with its parameters; outliers may be such that the guard refuses the
# steps that hold them.
NOT_SQUARED = ("params", "low_sd", "high_sd")


def found(message: Descriptor, field: Field, value: float) -> list[str]:
    """What is said against a value of a field."""
    made: Any = message_factory.GetMessageClass(message)()
    if field.is_map:
        getattr(made, field.name)["p"] = value
        at = f"x.{field.name}.p"
    elif field.is_list:
        getattr(made, field.name).append(value)
        at = f"x.{field.name}[0]"
    else:
        setattr(made, field.name, value)
        at = f"x.{field.name}"
    return [each.hint or each.allowed for each in check_message(made, "x") if each.field == at]


def edges(field: Field) -> list[float]:
    """The least and the largest number that the bounds allow."""
    bounds = field.bounds
    least = math.nextafter(bounds.gt, math.inf) if bounds.gt is not None else bounds.ge
    largest = math.nextafter(bounds.lt, -math.inf) if bounds.lt is not None else bounds.le
    assert least is not None, "it has no lower bound"
    assert largest is not None, "it has no upper bound"
    return [least, largest]


def test_there_are_many() -> None:
    assert len(NUMBERS) > 100


@every_number
def test_what_is_taken_at_the_bounds_is_finite_and_its_square_too(
    message: Descriptor, field: Field
) -> None:
    taken = [value for value in edges(field) if not found(message, field, value)]
    # A bound that is itself allowed must be one that can be written.
    inclusive = [each for each in (field.bounds.ge, field.bounds.le) if each is not None]
    assert [value for value in inclusive if found(message, field, value)] == []
    squared = field.name not in NOT_SQUARED
    with np.errstate(under="ignore", over="ignore"):
        for value in taken:
            single = np.float32(value)
            assert np.isfinite(single * single if squared else single)
            assert field.bounds.gt is None or single > field.bounds.gt
            assert field.bounds.lt is None or single < field.bounds.lt
            assert (single == 0) == (value == 0)


@every_number
@pytest.mark.parametrize("value", [1e39, -1e39, 1e157, -1e157, 1e300, math.inf, math.nan])
def test_what_float32_does_not_hold_is_refused(
    message: Descriptor, field: Field, value: float
) -> None:
    assert found(message, field, value)


@every_number
def test_the_default_is_taken(message: Descriptor, field: Field) -> None:
    if isinstance(field.default, float):
        assert found(message, field, field.default) == []


def test_what_float32_takes_for_zero_is_refused_with_the_reason() -> None:
    (violation,) = check_message(Huber(delta=1e-300))
    assert violation.allowed.startswith("a number > 0")
    assert violation.hint == "jobs compute in float32, in which it is 0"
    assert check_message(Huber(delta=1e-30)) == []


@pytest.mark.parametrize(
    "message", [Training(clip_value=1e39), Training(clip_norm=1e20), Adam(eps=1e-300)]
)
def test_refuses_what_used_to_overflow(message: Any) -> None:
    assert check_message(message)
