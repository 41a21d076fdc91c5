"""What docs/recommend.md shows is what the command prints, and it tells of every fact."""

import ast
import re
import shlex
from pathlib import Path

import pytest

from talweg.client.cli._root import run
from talweg.spec import facts
from talweg.v1.options_pb2 import TaskKind

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "recommend.md").read_text(encoding="utf-8")


def examples() -> list[tuple[str, str]]:
    """Return each command with what stands below it."""
    blocks = re.findall(r"^```console\n\$ (talweg [^\n]+)\n(.*?)^```$", PAGE, re.M | re.S)
    return [(command, output) for command, output in blocks]


@pytest.mark.parametrize(("command", "output"), examples(), ids=[row[0] for row in examples()])
def test_its_examples_are_true(
    command: str,
    output: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("TALWEG_ADDRESS", "TALWEG_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    status = run(shlex.split(command)[1:])
    printed = capsys.readouterr()
    assert status == (2 if output.startswith("error") else 0)
    assert (printed.out or printed.err.partition("\n")[2]) == output


def test_there_are_examples() -> None:
    assert len(examples()) == 4


def test_the_table_of_facts_is_complete() -> None:
    rows = dict(re.findall(r"^\| (\w+) \| ((?:`\w+` ?)+) \|$", PAGE, re.M))
    tasks = [name.lower() for name in TaskKind.keys()[1:]]
    assert list(rows) == tasks
    for task in tasks:
        assert re.findall(r"`(\w+)`", rows[task]) == [fact.name for fact in facts(task)]


def test_its_python_is_python_and_its_links_lead_somewhere() -> None:
    for code in re.findall(r"^```python\n(.*?)^```$", PAGE, re.M | re.S):
        ast.parse(code)
    for target in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert (ROOT / "docs" / target).exists(), target
