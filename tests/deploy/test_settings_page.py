"""docs/settings.md holds every variable, and the settings classes hold what it says."""

import ast
import dataclasses
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from talweg.deploy.settings import Settings as UpSettings
from talweg.server.settings import Settings as ServerSettings
from talweg.spec.identity.security import Security
from talweg.worker.settings import Settings as WorkerSettings

ROOT = Path(__file__).parents[2]
PART_SETTINGS = {"server": ServerSettings, "worker": WorkerSettings, "up": UpSettings}
FILE_OF = {
    "server": "server/talweg/server/settings.py",
    "worker": "worker/talweg/worker/settings.py",
    "up": "deploy/talweg/deploy/settings.py",
    "security": "proto/talweg/spec/identity/security.py",
}
VARIABLE = re.compile(r"(?<!_)TALWEG_[A-Z_]+")


@dataclasses.dataclass(frozen=True)
class Row:
    parts: frozenset[str]
    default: str


def page() -> dict[str, Row]:
    rows = {}
    for line in (ROOT / "docs/settings.md").read_text().splitlines():
        match = re.match(r"\| `(TALWEG_[A-Z_]+)` \| ([^|]+) \| ([^|]+) \| [^|]+ \|$", line)
        if match:
            rows[match[1]] = Row(frozenset(match[2].split(", ")), match[3])
    return rows


def variables_of(part: str) -> dict[str, str]:
    """Field name by variable, from the docstring under each field."""
    tree = ast.parse((ROOT / FILE_OF[part]).read_text())
    name = "Security" if part == "security" else "Settings"
    (settings,) = (
        node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name
    )
    found = {}
    for field, text in zip(settings.body, settings.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
            assert isinstance(field.target, ast.Name)
            assert isinstance(text.value, ast.Constant)
            variable = VARIABLE.match(str(text.value.value))
            assert variable, f"{part}: {field.target.id} says no variable"
            found[variable[0]] = field.target.id
    return found


def in_words(value: Any) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return str(int(value))
        case timedelta():
            return f"{value.total_seconds():g}"
        case tuple():
            return ",".join(value)
        case float():
            return f"{value:g}"
    return str(value)


@pytest.mark.parametrize("part", list(PART_SETTINGS))
def test_every_setting_is_on_the_page_with_its_default(part: str) -> None:
    rows, settings = page(), PART_SETTINGS[part]
    variables = variables_of(part)
    assert {variables[name] for name in variables} == {
        field.name for field in dataclasses.fields(settings)
    }
    for variable, field in variables.items():
        assert part in rows[variable].parts, f"{part} reads {variable}"
        default = getattr(settings(), field)
        if part != "up" or default is not None:
            assert in_words(default) in rows[variable].default.replace("`", ""), variable


@pytest.mark.parametrize("part", list(PART_SETTINGS))
def test_the_page_names_no_part_that_does_not_read_a_variable(part: str) -> None:
    named = {variable for variable, row in page().items() if part in row.parts}
    # Clients and workers share these.
    shared = set(variables_of("security")) if part == "worker" else set()
    assert named == set(variables_of(part)) | shared


def test_clients_and_workers_read_what_shows_who_they_are() -> None:
    variables, rows = variables_of("security"), page()
    assert set(variables.values()) == {field.name for field in dataclasses.fields(Security)}
    for variable in variables:
        assert {"client", "worker"} <= rows[variable].parts, variable


def test_every_variable_in_the_code_is_on_the_page() -> None:
    files = [
        path
        for folder in ("proto", "server", "worker", "client", "deploy")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and (path.suffix in (".py", ".sh", ".yaml") or "Dockerfile" in path.name)
    ]
    used = {name for path in files for name in VARIABLE.findall(path.read_text())}
    assert used == set(page())
