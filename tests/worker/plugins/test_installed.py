"""What a worker finds out of its plug-ins before it tells the server."""

from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests._plugins import write_package
from tests.worker.plugins.conftest import Install

from talweg.spec.plugins import kind_of
from talweg.v1.models_pb2 import ModelPlugin
from talweg.v1.plugins_pb2 import PluginDeclaration, PluginParameter
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.plugins import digests, digests_of, installed, names
from talweg.worker.plugins.describing import described

CODE = """
import os
from talweg.plugins import Parameter, declare
print("a plug-in may print")

@declare(
    Parameter("hidden", list[int], default=[8, 8], ge=1, description="Units."),
    Parameter("kind", str, choices=["a", "b"]),
    Parameter("rate", float, default=None, gt=0, lt=1),
    tasks=["regression", "binary"], when="Always", reference="A paper",
)
def declared(parameters, context):
    '''A model that says
    what it is.

    And more.
    '''

def undeclared(parameters, context):
    pass

number = 5

@declare(Parameter("size", int, default=0, ge=1))
def contradicting(parameters, context):
    pass
"""


def test_each_plugin_with_its_parameters_or_why_it_cannot_be_used(install: Install) -> None:
    install(
        CODE,
        {
            "talweg.models:declared": "declared",
            "talweg.models:undeclared": "undeclared",
            "talweg.models:number": "number",
            "talweg.models:contradicting": "contradicting",
            "talweg.models:missing": "missing",
            "talweg.losses:alike": "undeclared",
        },
        module="own_models",
    )
    # It ends the process that loads it; those behind it are told of all the same.
    install("import os\nos._exit(3)", {"talweg.models:mortal": "make"}, module="mortal")
    install("def make(parameters): ...", {"talweg.datasets:last": "make"}, module="last")
    told = {(each.kind, each.name): each for each in installed()}
    assert list(told) == [
        (PluginDeclaration.LOSS, "alike"),
        *(
            (PluginDeclaration.MODEL, name)
            for name in ("contradicting", "declared", "missing", "mortal", "number", "undeclared")
        ),
        (PluginDeclaration.DATASET, "last"),
    ]
    problems = {name: each.problem for (_, name), each in told.items() if each.problem}
    assert problems.keys() == {"contradicting", "missing", "mortal", "number"}
    assert "default.size: found 0; allowed an integer >= 1" in problems["contradicting"]
    assert problems["missing"].startswith("AttributeError: ")
    assert problems["mortal"] == "it ended its process with status 3"
    assert problems["number"] == "TypeError: own_models:number must be callable, but is int"
    assert told[PluginDeclaration.MODEL, "undeclared"].undeclared
    declared = told[PluginDeclaration.MODEL, "declared"]
    assert not declared.undeclared
    assert (declared.package, declared.version) == ("own_models", "1")
    assert declared.description == "A model that says what it is."
    assert [len(declared.tasks), declared.when, declared.reference] == [2, "Always", "A paper"]
    hidden, kind, rate = declared.parameters
    assert (hidden.name, hidden.type, hidden.list) == ("hidden", PluginParameter.INTEGER, True)
    assert (hidden.default, hidden.bounds.ge, hidden.description) == ("[8, 8]", 1, "Units.")
    assert (kind.type, kind.HasField("default")) == (PluginParameter.TEXT, False)
    assert kind.choices == ["a", "b"]
    assert (rate.default, rate.bounds.gt, rate.bounds.lt) == ("null", 0, 1)
    assert rate.bounds.HasField("gt")


def test_where_none_is_installed() -> None:
    assert installed() == []


def test_a_task_that_is_unknown_is_refused(install: Install) -> None:
    code = """
from talweg.plugins import declare

@declare(tasks=["regresion"])
def make(parameters, context): ...
"""
    install(code, {"talweg.models:own": "make"})
    (entry,) = entry_points(group="talweg.models", name="own")
    with pytest.raises(ValueError, match="but got 'regresion'"):
        described(kind_of(ModelPlugin()), entry, entry.load())


def test_the_digest_of_a_plugin_is_that_of_its_code(install: Install) -> None:
    code = "def make(parameters, context): return "
    install(f"{code}1", {"talweg.models:one": "make"}, module="digested_one")
    install(f"{code}1", {"talweg.models:two": "make"}, module="digested_two")

    def told() -> dict[str, str]:
        digests._first_digest.cache_clear()
        spec = JobSpec()
        spec.model.plugin.name = "one"
        return {each.name: each.digest for each in names()} | digests_of(spec)

    before = told()
    assert before["models/one"] == before["one"] != before["two"]
    assert len(before["one"]) == 64
    found = find_spec("digested_one")
    assert found is not None
    assert found.origin is not None
    # As in an editable install.
    Path(found.origin).write_text(f"{code}2\n")
    # This process may have imported what was there before.
    assert {each.name: each.digest for each in names()}["one"] == ""
    after = told()
    assert after["one"] != before["one"]
    assert after["two"] == before["two"]
    # Another has been installed where this process has looked before.
    write_package(Path(found.origin).parent, "digested_beside", "", {})
    assert told()["two"] != after["two"]
