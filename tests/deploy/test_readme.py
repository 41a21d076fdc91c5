"""What README.md shows works, and what it points at is there."""

import ast
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from talweg.client.cli import main
from talweg.spec import check, fill, parse

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def commands() -> list[list[str]]:
    lines = [line for block in blocks("console") for line in block.splitlines()]
    inline = re.findall(r"`(talweg [^`]+)`", README)
    words = [shlex.split(line, comments=True) for line in [*lines, *inline]]
    return [line for line in words if line and line[0] == "talweg"]


def test_the_job_file_is_a_good_one() -> None:
    (text,) = blocks("yaml")
    violations, warnings = check(fill(parse(text)))
    assert not violations
    assert not warnings


def test_the_client_takes_ten_lines() -> None:
    (code,) = blocks("python")
    ast.parse(code)
    assert len([line for line in code.splitlines() if line]) <= 10


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_is_one(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    options = [word for word in words[1:] if word.startswith("--")]
    subcommand = [word for word in words[1:2] if not word.startswith("-")]
    with pytest.raises(SystemExit) as end:
        main([*subcommand, "--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    for option in options:
        assert option in text
    for word in words[1:]:
        if "/" in word:
            assert (ROOT / word).exists()


def test_what_it_links_to_is_there() -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", README)
    assert targets
    for target in targets:
        assert (ROOT / target).exists(), target


def test_the_folders_that_it_names_are_there() -> None:
    rows = re.findall(r"^\| `([^`]+/)` \|", README, flags=re.MULTILINE)
    assert len(rows) > 8
    for folder in rows:
        assert (ROOT / folder).is_dir(), folder


def test_the_verbs_that_it_names_are_the_makefiles() -> None:
    named = set(re.findall(r"`?make ([a-z]+)", README))
    makefile = (ROOT / "Makefile").read_text()
    (phony,) = re.findall(r"^\.PHONY: (.*)$", makefile, flags=re.MULTILINE)
    assert named <= set(phony.split())
    assert {"run", "test", "check", "proto", "bench", "faults", "clean"} <= named


def test_a_fresh_machine_without_a_good_python_is_told(tmp_path: Path) -> None:
    for name in ("python3", "python3.11", "python3.12", "python3.13"):
        (tmp_path / name).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(
        ["/bin/sh", str(ROOT / "deploy/install.sh"), str(tmp_path / "venv"), "all"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "Python 3.11" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_make_passes_once_on() -> None:
    for given, expected in (("", False), ("ONCE=1", True), ("ONCE=0", False)):
        done = subprocess.run(
            ["make", "--no-print-directory", "-n", "-C", str(ROOT), "run", *given.split()],
            capture_output=True,
            text=True,
            check=True,
        )
        assert ("--once" in done.stdout) is expected


def test_the_pins_hold_everything_that_tests_need() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "deploy/constraints.py"), "--check"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
