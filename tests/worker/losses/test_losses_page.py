"""The example of docs/losses.md prints what the page says."""

import re
import runpy
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs/losses.md"


def test_the_example_in_python_prints_its_comments(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    section = PAGE.read_text(encoding="utf-8").partition("## From Python")[2]
    found = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert found
    example = tmp_path / "example.py"
    example.write_text(found[1], encoding="utf-8")
    runpy.run_path(str(example))
    said = re.findall(r"^print\(.*\)  # (.*)$", found[1], re.MULTILINE)
    assert len(said) == 6
    assert capsys.readouterr().out.splitlines() == said
