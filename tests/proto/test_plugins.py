"""Plug-ins in specs: where they stand, their parameters, their entries in the catalogue."""

from typing import Any

import pytest
from tests.proto.specs import base

from talweg.plugins import Parameter, declare
from talweg.spec import check, fill, from_dict
from talweg.spec.plugins import KINDS, Told, check_parameters, plugin_entries, plugin_uses
from talweg.v1.catalog_pb2 import DatasetEntry, LossEntry, ModelEntry
from talweg.v1.options_pb2 import BINARY, REGRESSION, SEGMENTATION, NumberRule
from talweg.v1.plugins_pb2 import PluginDeclaration, PluginParameter

NUMBER, INTEGER, BOOLEAN, TEXT = PluginParameter.Type.values()[1:]
GATED = PluginDeclaration(
    kind=PluginDeclaration.MODEL,
    name="gated",
    parameters=[
        PluginParameter(
            name="hidden", type=INTEGER, list=True, default="[8, 8]", bounds=NumberRule(ge=1)
        ),
        PluginParameter(name="rate", type=NUMBER, bounds=NumberRule(gt=0, le=1)),
        PluginParameter(name="flag", type=BOOLEAN, default="true"),
        PluginParameter(name="kind", type=TEXT, default='"relu"', choices=["relu", "gelu"]),
        PluginParameter(name="seed", type=INTEGER, default="null", bounds=NumberRule(ge=0)),
    ],
)


def test_what_a_spec_names_and_where() -> None:
    plugin = {"plugin": {"name": "own"}}
    terms = [{"loss": "mse"}, {"loss": {"sum": {"terms": [{"loss": plugin}]}}}]
    spec = from_dict(
        base(dataset=plugin, model={"embedder": {"trunk": plugin}}, loss={"sum": {"terms": terms}})
    )
    uses = list(plugin_uses(spec))
    assert [use.path for use in uses] == [
        "dataset.plugin",
        "model.embedder.trunk.plugin",
        "loss.sum.terms[1].loss.sum.terms[0].loss.plugin",
    ]
    assert [use.kind.word for use in uses] == ["data set", "model", "loss"]
    uses[0].message.parameters = '{"a": 1}'
    assert spec.dataset.plugin.parameters == '{"a": 1}'
    assert list(plugin_uses(from_dict(base()))) == []
    assert [kind.group for kind in KINDS] == ["talweg.losses", "talweg.models", "talweg.datasets"]


def test_all_parameters_are_complete_and_of_their_types() -> None:
    complete, violations = check_parameters(GATED, {"rate": 1, "hidden": [4.0], "seed": None}, "p")
    assert violations == []
    assert complete == {"hidden": [4], "rate": 1.0, "flag": True, "kind": "relu", "seed": None}
    assert [type(complete["rate"]), type(complete["hidden"][0])] == [float, int]
    free = PluginDeclaration(name="free", undeclared=True)
    assert check_parameters(free, {"any": {"thing": 1}}, "p") == ({"any": {"thing": 1}}, [])


# value of a parameter, field, what was found, what is allowed, what to do
REFUSED: list[tuple[dict[str, Any], str, str, str, str]] = [
    ({"hiden": [1]}, "p.hiden", '"hiden"', "one of hidden, rate, flag, kind, seed",
     "did you mean 'hidden'?"),
    ({"rate": None}, "p.rate", "nothing", "a number > 0, <= 1", ""),
    ({"rate": 0}, "p.rate", "0", "a number > 0, <= 1", ""),
    ({"rate": "0.5"}, "p.rate", '"0.5"', "a number > 0, <= 1", "write it without quotes"),
    ({"rate": True}, "p.rate", "true", "a number > 0, <= 1", ""),
    ({"rate": 10**400}, "p.rate", "an integer of 1329 bits", "a number > 0, <= 1", ""),
    ({"hidden": 8}, "p.hidden", "8", "a list, each an integer >= 1", "enclose it in [ ]"),
    ({"hidden": [8, 0]}, "p.hidden[1]", "0", "an integer >= 1", ""),
    ({"hidden": [1.5]}, "p.hidden[0]", "1.5", "an integer >= 1", ""),
    ({"hidden": [1] * 1001}, "p.hidden", "1001 items", "at most 1000 items", ""),
    ({"flag": 1}, "p.flag", "1", "true or false", ""),
    ({"flag": "true"}, "p.flag", '"true"', "true or false", "write it without quotes"),
    ({"kind": "gellu"}, "p.kind", '"gellu"', "one of relu, gelu", "did you mean 'gelu'?"),
    ({"kind": 3}, "p.kind", "3", "one of relu, gelu", "put it in quotes"),
    ({"seed": -1}, "p.seed", "-1", "an integer >= 0, or null", ""),
]  # fmt: skip


@pytest.mark.parametrize(("given", "field", "found", "allowed", "hint"), REFUSED)
def test_what_is_wrong_with_a_parameter(
    given: dict[str, Any], field: str, found: str, allowed: str, hint: str
) -> None:
    _, violations = check_parameters(GATED, {"rate": 0.5, **given}, "p")
    assert [(v.field, v.found, v.allowed, v.hint) for v in violations] == [
        (field, found, allowed, hint)
    ]


def test_a_required_parameter_and_a_plugin_without_any() -> None:
    _, (violation,) = check_parameters(GATED, {}, "p")
    assert (violation.field, violation.found) == ("p.rate", "nothing")
    bare = PluginDeclaration(name="bare")
    _, (violation,) = check_parameters(bare, {"a": 1}, "p")
    assert violation.allowed == 'no parameters of plug-in "bare"'


def test_members_of_the_spec_have_bounds_of_their_own() -> None:
    for part in ("model", "dataset"):
        violations, _ = check(fill(from_dict(base(**{part: {"plugin": {"name": "a=b"}}}))))
        assert f"{part}.plugin.name" in [each.field for each in violations]
        violations, _ = check(
            fill(from_dict(base(**{part: {"plugin": {"name": "a", "parameters": "[1]"}}})))
        )
        assert f"{part}.plugin.parameters" in [each.field for each in violations]


def test_entries_of_the_catalogue() -> None:
    loss = PluginDeclaration(
        kind=PluginDeclaration.LOSS, name="cauchy", when="Outliers", undeclared=True,
        tasks=[REGRESSION, SEGMENTATION], reference="A paper", package="own", version="2",
    )  # fmt: skip
    broken = PluginDeclaration(kind=PluginDeclaration.DATASET, name="table", problem="no driver")
    newer = PluginDeclaration()
    newer.CopyFrom(GATED)
    newer.version = "3"
    told = [
        Told("w2", ("default",), (GATED, loss)),
        Told("w1", ("default",), (GATED, broken)),
        Told("w3", ("cuda",), (newer,)),
    ]
    old, new = plugin_entries(PluginDeclaration.MODEL, told)
    assert isinstance(old, ModelEntry)
    assert (old.name, list(old.plugin.workers)) == ("plugin:gated", ["w1", "w2"])
    assert (new.plugin.version, list(new.plugin.workers)) == ("3", ["w3"])
    assert [(p.name, p.type, p.default, p.allowed) for p in old.parameters] == [
        ("hidden", "list of integer", "[8, 8]", ">= 1"),
        ("rate", "number", "", "> 0, <= 1; required"),
        ("flag", "boolean", "true", ""),
        ("kind", "one of", '"relu"', "relu, gelu"),
        ("seed", "integer", "null", ">= 0"),
    ]
    (entry,) = plugin_entries(PluginDeclaration.LOSS, told)
    assert isinstance(entry, LossEntry)
    # Of the tasks that it names, those that plug-ins of its kind can have.
    assert list(entry.facts.tasks) == [REGRESSION]
    assert (entry.facts.when, entry.facts.reference) == ("Outliers", "A paper")
    (data,) = plugin_entries(PluginDeclaration.DATASET, told)
    assert isinstance(data, DatasetEntry)
    assert data.plugin.problem == "no driver"
    assert BINARY in data.facts.tasks


# arguments of a parameter, what is wrong with it
WRONG: list[tuple[tuple[Any, ...], dict[str, Any], str]] = [
    (("two words", int), {}, "must be an identifier"),
    (("a", dict), {}, "must be float, int, bool, str or a list"),
    (("a", list), {}, "such as list\\[int\\]"),
    (("a", list[dict[str, int]]), {}, "must be float"),
    (("a", str), {"gt": 0}, "holds no numbers"),
    (("a", float), {"gt": float("nan")}, "must be finite"),
    (("a", int), {"choices": ["b"]}, "holds no text"),
    (("a", float), {"default": float("inf")}, "must be a value of JSON"),
    (("a", int), {"default": object()}, "must be a value of JSON"),
]


@pytest.mark.parametrize(("arguments", "options", "says"), WRONG)
def test_a_parameter_whose_parts_do_not_fit(
    arguments: tuple[Any, ...], options: dict[str, Any], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        Parameter(*arguments, **options)


def test_a_name_is_declared_once() -> None:
    with pytest.raises(ValueError, match="a are declared twice"):
        declare(Parameter("a", int), Parameter("a", float))
