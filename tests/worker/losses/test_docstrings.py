"""A loss's class says the same as its message: fields, bounds, inputs, paper."""

import inspect
import re
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from talweg.spec import loss_facts
from talweg.v1 import losses_pb2 as pb
from talweg.v1 import options_pb2
from talweg.worker.losses import LossModule
from talweg.worker.losses.registry import BUILDERS

MESSAGES: dict[str, Descriptor] = {
    field.name: field.message_type for field in pb.Loss.DESCRIPTOR.fields if field.message_type
}
RULES = ("default", "ge", "gt", "le", "lt")


def class_of(name: str) -> type[LossModule]:
    builder = BUILDERS[name]
    if isinstance(builder, type):
        return builder
    made: type[LossModule] = inspect.signature(builder).return_annotation
    return made


def docstring(name: str) -> str:
    text = class_of(name).__doc__
    assert text, f"{name} has no docstring"
    return inspect.cleandoc(text)


def on_one_line(text: str) -> str:
    return " ".join(text.split())


def described(name: str) -> dict[str, str]:
    """What stands under `Args`, by the argument's name."""
    section = re.search(r"^Args:\n((?:    .*\n)+)", docstring(name), re.MULTILINE)
    assert section, f"{name} has no Args"
    entries = re.split(r"^    (?=\w+: )", section[1], flags=re.MULTILINE)[1:]
    return {entry.partition(":")[0]: on_one_line(entry.partition(":")[2]) for entry in entries}


def options_of(field: FieldDescriptor) -> tuple[Any, ...]:
    """A field's default and bounds, but for those that only keep float32 from overflow."""
    number = field.GetOptions().Extensions[options_pb2.number]
    flag = field.GetOptions().Extensions[options_pb2.flag]
    rules = [*number.ListFields(), *flag.ListFields()]
    return tuple(
        value
        for rule, value in rules
        if rule.name in RULES and (rule.name == "default" or value == 0 or 0.01 < abs(value) < 100)
    )


def numbers_in(text: str) -> set[float]:
    return {float(found) for found in re.findall(r"-?\d+(?:\.\d+)?(?:e-?\d+)?", text)}


@pytest.mark.parametrize("name", MESSAGES)
def test_it_has_a_summary_and_a_formula(name: str) -> None:
    summary, blank, *rest = docstring(name).splitlines()
    assert summary.endswith(".")
    assert blank == ""
    assert any(line.startswith("L = ") for line in rest)
    assert "Returns: " in docstring(name)


@pytest.mark.parametrize("name", MESSAGES)
def test_its_arguments_are_the_fields_of_its_message(name: str) -> None:
    assert list(described(name)) == [field.name for field in MESSAGES[name].fields]


@pytest.mark.parametrize("name", MESSAGES)
def test_it_gives_bounds_and_defaults(name: str) -> None:
    for field in MESSAGES[name].fields:
        text = described(name)[field.name]
        for value in options_of(field):
            if isinstance(value, bool):
                assert f"default {str(value).lower()}" in text
            else:
                assert value in numbers_in(text), f"{name}.{field.name} does not say {value}"
        if field.enum_type is not None:
            assert [v.name for v in field.enum_type.values if v.name not in text] == []


@pytest.mark.parametrize("name", MESSAGES)
def test_it_gives_the_shapes_of_its_inputs(name: str) -> None:
    text = on_one_line(docstring(name))
    assert re.search(r"Inputs: .*\((N|K|R|T)\b", text)
    for described_input in loss_facts(MESSAGES[name]).inputs:
        for shape in re.findall(r"\w+ \([A-Z][^)]*\)", described_input):
            assert shape in text


@pytest.mark.parametrize("name", MESSAGES)
def test_it_names_the_paper(name: str) -> None:
    assert f"Reference: {loss_facts(MESSAGES[name]).reference}" in on_one_line(docstring(name))
