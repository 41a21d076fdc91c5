"""docs/corrections.md: a row for each test and a test for each row; its examples are true."""

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest

from talweg.worker.losses_cli.lines import answers

ROOT = Path(__file__).parents[3]
FILES = [
    ROOT / "tests/worker/losses" / name
    for name in ("test_corrections.py", "test_corrections_training.py")
]
PAGE = (ROOT / "docs/corrections.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
EXAMPLES = re.findall(
    r"^```console\n\$ talweg loss check - <<'END'\n(.*?)^END\n(.*?)^```", PAGE, re.M | re.S
)


def functions_of(file: Path) -> set[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    names = (node.name for node in tree.body if isinstance(node, ast.FunctionDef))
    return {f"{file.name}::{name}" for name in names if name.startswith("test_")}


def named_in(row: str) -> list[str]:
    links = re.findall(r"\[`(test_\w+)`\]\(\.\./tests/worker/losses/(\w+\.py)\)", row)
    return [f"{file}::{test}" for test, file in links]


def test_every_test_is_named_by_one_row() -> None:
    named = [test for row in ROWS.values() for test in named_in(row)]
    assert len(named) == len(set(named))
    assert set(named) == functions_of(FILES[0]) | functions_of(FILES[1])


def test_there_are_21_rows() -> None:
    assert len(ROWS) == 21


@pytest.mark.parametrize("title", ROWS)
def test_every_row_says_what_is_taught_what_is_true_and_which_test_holds_it(title: str) -> None:
    row = ROWS[title]
    assert row.count("\n**Taught:** ") == 1
    assert row.count("\n**True:** ") == 1
    assert named_in(row)


def close(found: Any, written: Any) -> bool:
    """Return whether two answers are the same, but for the last digits of their numbers."""
    if isinstance(written, dict):
        return found.keys() == written.keys() and all(close(found[k], written[k]) for k in written)
    if isinstance(written, list):
        return len(found) == len(written) and all(map(close, found, written))
    if isinstance(written, float):
        return bool(found == pytest.approx(written, rel=1e-4, abs=1e-7))
    return bool(found == written)


@pytest.mark.parametrize(("given", "printed"), EXAMPLES)
def test_every_example_prints_what_the_page_says(given: str, printed: str) -> None:
    found = [json.loads(answer.text) for answer in answers(given.encode().splitlines())]
    assert close(found, [json.loads(line) for line in printed.splitlines()])


def test_the_page_has_examples() -> None:
    assert len(EXAMPLES) >= 15
