"""Every bound that stands in the .proto files holds, on both sides of it."""

import math
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from tests.proto.specs import messages_below

from talweg.spec import check_message, from_dict
from talweg.spec.fields import Bounds, Field, Type, choices, fields
from talweg.v1.jobs_pb2 import Job
from talweg.v1.losses_pb2 import Expression, Huber, Loss
from talweg.v1.models_pb2 import Mlp
from talweg.v1.options_pb2 import TaskFacts
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.tasks_pb2 import Task

ALL = list(messages_below(JobSpec.DESCRIPTOR))
FIELDS = [(message, field) for message in ALL for field in fields(message).values()]
BOUNDED = [(m, f) for m, f in FIELDS if f.bounds != Bounds() and not f.is_map]


def names(cases: list[tuple[Descriptor, Field]]) -> list[str]:
    return [f"{message.name}.{field.name}" for message, field in cases]


def edges(field: Field) -> Iterator[tuple[float, bool]]:
    """Give numbers on and beside each bound, and whether the bound allows them."""
    bounds = field.bounds
    # Beside a large bound a millionth is nothing.
    step = 1 if field.type is Type.INTEGER else max(1e-6, 1e-12 * (bounds.le or 0))
    if bounds.gt is not None:
        yield from ((bounds.gt, False), (bounds.gt + step, True))
    if bounds.ge is not None:
        yield from ((bounds.ge - step, False), (bounds.ge, True))
    if bounds.lt is not None:
        yield from ((bounds.lt, False), (bounds.lt - step, True))
    if bounds.le is not None:
        yield from ((bounds.le + step, False), (bounds.le, True))


@pytest.mark.parametrize(
    ("weights", "found"),
    [
        ({}, "nothing"),
        ({"values": []}, "nothing"),
        ({"values": [1], "balanced": {}}, "values and balanced"),
        ({"values": [1], "effective_number": {}}, "values and effective_number"),
    ],
)
def test_class_weights_are_said_in_one_way(weights: dict[str, Any], found: str) -> None:
    loss = from_dict({"cross_entropy": {"weight": weights}}, Loss)
    (violation,) = check_message(loss)
    assert violation.field == "loss.cross_entropy.weight"
    assert violation.found == found
    assert violation.allowed == "one of values, balanced, effective_number"


@pytest.mark.parametrize("weights", [[1], "balanced", "effective_number"])
def test_each_way_alone_is_in_order(weights: Any) -> None:
    assert check_message(from_dict({"cross_entropy": {"weight": weights}}, Loss)) == []


def holding(message: Descriptor, field: Field, value: Any) -> Message:
    holder = message_factory.GetMessageClass(message)()
    if field.is_list:
        getattr(holder, field.name).extend(value if isinstance(value, list) else [value])
    else:
        setattr(holder, field.name, value)
    return holder


def about(message: Message, name: str) -> list[str]:
    """Give what the check says about one field."""
    return [
        v.description for v in check_message(message, "x")
        if v.field in (f"x.{name}", f"x.{name}[0]")
    ]  # fmt: skip


@pytest.mark.parametrize(("message", "field"), BOUNDED, ids=names(BOUNDED))
def test_bounds_hold_on_both_sides(message: Descriptor, field: Field) -> None:
    cases = list(edges(field))
    assert cases
    for value, allowed in cases:
        low, high = field.range or (-math.inf, math.inf)
        if not low <= value <= high:
            continue
        number = int(value) if field.type is Type.INTEGER else value
        said = about(holding(message, field, number), field.name)
        assert bool(said) != allowed, (value, said)
        if said:
            assert str(field.bounds) in said[0] or field.type is Type.INTEGER


NUMBERS = [(m, f) for m, f in FIELDS if f.type is Type.NUMBER and not f.is_map]


@pytest.mark.parametrize(("message", "field"), NUMBERS, ids=names(NUMBERS))
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_are_finite(message: Descriptor, field: Field, value: float) -> None:
    (said,) = about(holding(message, field, value), field.name)
    assert "numbers must be finite" in said


LISTS = [(m, f) for m, f in FIELDS if f.is_list and (f.min_items or f.max_items)]


@pytest.mark.parametrize(("message", "field"), LISTS, ids=names(LISTS))
def test_lists_have_limits(message: Descriptor, field: Field) -> None:
    def said(count: int) -> list[str]:
        holder = message_factory.GetMessageClass(message)()
        for _ in range(count):
            items = getattr(holder, field.name)
            if field.type is Type.MESSAGE:
                items.add()
            else:
                items.append("x" if field.type is Type.TEXT else 1)
        return [v.description for v in check_message(holder, "x") if v.field == f"x.{field.name}"]

    if field.min_items:
        assert "at least" in said(field.min_items - 1)[0]
        assert said(field.min_items) == []
    if field.max_items:
        assert "at most" in said(field.max_items + 1)[0]
        assert said(field.max_items) == []


# spec, field, found, part of allowed
TEXTS: list[tuple[JobSpec, str, str, str]] = [
    (JobSpec(display_name="x" * 201), "display_name", "201 characters", "at most 200"),
    (JobSpec(display_name="a\nb"), "display_name", '"a\\nb"', "without control characters"),
    (JobSpec(display_name="\0"), "display_name", '"\\u0000"', "without control characters"),
    (JobSpec(experiment=""), "experiment", '""', "letters, digits"),
    (JobSpec(experiment=" x"), "experiment", '" x"', "letters, digits"),
    (JobSpec(experiment="x\n"), "experiment", '"x\\n"', "control"),
    (JobSpec(experiment="a/b"), "experiment", '"a/b"', "letters, digits"),
    (JobSpec(tags={"k": "x" * 201}), "tags.k", "201 characters", "at most 200"),
    (JobSpec(tags={f"k{i}": "" for i in range(51)}), "tags", "51 items", "at most 50 items"),
]


@pytest.mark.parametrize(("spec", "field", "found", "allowed"), TEXTS)
def test_texts(spec: JobSpec, field: str, found: str, allowed: str) -> None:
    (violation,) = [v for v in check_message(spec, path="") if v.field == field]
    assert violation.found == found
    assert allowed in violation.allowed


def test_texts_in_order() -> None:
    spec = JobSpec(display_name="x" * 200, experiment="a b.c-d_2", tags={"k": "✓" * 200})
    said = {v.field for v in check_message(spec, path="")}
    assert said == {"task", "dataset", "model", "loss"}


def test_required_texts() -> None:
    (violation,) = check_message(Loss(expression=Expression()), "loss")
    assert violation.field == "loss.expression.formula"
    assert violation.found == "nothing"
    assert violation.allowed == "text of at most 2000 characters"


def test_required_parts() -> None:
    violations = {v.field: v for v in check_message(JobSpec(), path="")}
    assert set(violations) == {"task", "dataset", "model", "loss"}
    assert violations["task"].found == "nothing"
    assert violations["task"].allowed == f"one of {', '.join(choices(Task.DESCRIPTOR))}"
    assert violations["task"].hint == "write task: regression, or task: {regression: {…}}"


def test_a_choice_without_a_member() -> None:
    (violation,) = check_message(Loss())
    assert (violation.field, violation.found) == ("loss", "nothing")
    loss = from_dict({"sum": {"terms": [{"loss": "mse"}, {"weight": 1}, {"loss": {}}]}}, Loss)
    fields_said = [v.field for v in check_message(loss)]
    assert fields_said == ["loss.sum.terms[1].loss", "loss.sum.terms[2].loss"]


def test_unknown_enum_values() -> None:
    huber = Huber(delta=1)
    huber.MergeFromString(b"\x78\x07")  # reduction = 7
    (violation,) = check_message(huber, "loss.huber")
    assert (violation.field, violation.found) == ("loss.huber.reduction", "7")


def test_unknown_fields_are_not_passed_over() -> None:
    loss = Loss.FromString(b"\x1a\x03\x98\x06\x05")  # huber with a field 99
    (violation,) = check_message(loss)
    assert violation.field == "loss.huber"
    assert "number 99" in violation.found
    assert "newer" in violation.hint


def test_the_check_of_a_deep_message_ends() -> None:
    loss = Loss()
    innermost = loss
    for _ in range(200):
        innermost = innermost.sum.terms.add(weight=1).loss
    innermost.mse.SetInParent()
    assert [v.allowed for v in check_message(loss)] == ["at most 100 levels"]


def test_all_at_once_and_in_order() -> None:
    spec = from_dict(
        {
            "priority": 2000,
            "loss": {"huber": {"delta": -1}},
            "model": {"mlp": {"hidden": [0, 8, 0], "dropout": 1}},
            "training": {"batch_size": 0},
        }
    )
    assert [v.field for v in check_message(spec, path="") if v.found != "nothing"] == [
        "priority", "model.mlp.hidden[0]", "model.mlp.hidden[2]", "model.mlp.dropout",
        "loss.huber.delta", "training.batch_size",
    ]  # fmt: skip


def test_messages_without_rules_are_in_order() -> None:
    assert check_message(TaskFacts(), "x") == []
    assert check_message(Mlp(hidden=[1]), "x") == []
    assert check_message(Job(name="x"), "job") == []
