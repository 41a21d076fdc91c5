"""Free parameters: objects in job files, texts in messages."""

import json
from typing import Any

import pytest
from tests.proto.specs import base, checked, refused

from talweg.spec import check_message, fill, flatten, from_dict, label, override, parse, to_dict
from talweg.spec import to_yaml as written
from talweg.v1.losses_pb2 import Plugin

FREE: dict[str, Any] = {"scale": 2, "eps": 1e-8, "modes": ["a", {"b": None}], "name": "ü", "x": {}}


def plugin(parameters: object) -> dict[str, Any]:
    return base(loss={"plugin": {"name": "cauchy", "parameters": parameters}})


def test_an_object_is_a_text_in_the_message_and_an_object_in_files() -> None:
    spec = from_dict(plugin(FREE))
    assert json.loads(spec.loss.plugin.parameters) == FREE
    assert to_dict(spec)["loss"]["plugin"]["parameters"] == FREE
    # Whole numbers stay whole, which a Struct would not keep.
    assert '"scale": 2,' in spec.loss.plugin.parameters
    assert parse(written(spec)) == spec
    assert checked(plugin(FREE)) == ([], [])


def test_the_text_itself_is_taken_too() -> None:
    text = '{"b":1,  "a": 2}'
    spec = from_dict(plugin(text))
    assert spec.loss.plugin.parameters == text
    # Written as it is, so that reading it back gives the same.
    assert to_dict(spec)["loss"]["plugin"]["parameters"] == text
    assert checked(plugin(text))[0] == []


def test_absence_is_an_empty_object() -> None:
    spec = fill(from_dict(base(loss={"plugin": "cauchy"})))
    assert (spec.loss.plugin.name, spec.loss.plugin.parameters) == ("cauchy", "{}")
    assert label(spec.loss) == "plugin name=cauchy"


@pytest.mark.parametrize(
    ("parameters", "found"),
    [
        ("scale", "text that is not JSON"),
        ("", "text that is not JSON"),
        ("[1]", "a list of 1"),
        ("2", "2"),
        ('{"a": NaN}', "text that is not JSON (NaN is not a JSON number)"),
        ('{"a": ' * 60 + "1" + "}" * 60, "an object of more than 50 levels"),
        ("{" + "[" * 9000, "text that is not JSON"),
        (json.dumps({"a": "x" * 10_000}), "10009 characters"),
    ],
    ids=lambda value: value[:20],
)
def test_texts_that_are_no_object(parameters: str, found: str) -> None:
    message = Plugin(name="cauchy", parameters=parameters)
    (violation,) = check_message(message, "loss.plugin")
    assert violation.field == "loss.plugin.parameters"
    assert violation.found.startswith(found)
    assert violation.allowed in ("a JSON object", "an object of at most 10000 characters")


@pytest.mark.parametrize("parameters", [[1], 2, True, {"a": float("nan")}, {"a": {1, 2}}], ids=str)
def test_values_that_are_no_object(parameters: object) -> None:
    (violation,) = refused(plugin(parameters))
    assert violation.field == "loss.plugin.parameters"
    assert violation.allowed == "an object of at most 10000 characters"


def test_settings_within_an_object() -> None:
    job = override(plugin({"scale": 2, "modes": {"a": 1}}), [
        "loss.plugin.parameters.scale=0.5",
        "loss.plugin.parameters.modes.b=[1, x]",
        "loss.plugin.parameters.modes.a=",
    ])  # fmt: skip
    assert job["loss"]["plugin"]["parameters"] == {"scale": 0.5, "modes": {"b": [1, "x"]}}
    job = override(plugin('{"scale": 2}'), ["loss.plugin.parameters.more=1"])
    assert job["loss"]["plugin"]["parameters"] == {"scale": 2, "more": 1}
    job = override(base(), ["loss.plugin.name=cauchy", "loss.plugin.parameters={a: 1}"])
    assert job["loss"] == {"plugin": {"name": "cauchy", "parameters": {"a": 1}}}
    assert flatten(from_dict(job))["loss.plugin.parameters"] == '{"a": 1}'


def test_a_plugin_needs_a_name() -> None:
    (violation,) = check_message(Plugin(), "loss.plugin")
    assert (violation.field, violation.found) == ("loss.plugin.name", "nothing")
    assert check_message(Plugin(name="a b.c-d_2"), "loss.plugin") == []
    assert check_message(Plugin(name="a=b"), "loss.plugin") != []
