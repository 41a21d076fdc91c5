"""The command from its first moment, as it is installed."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def installed(*arguments: str) -> list[str]:
    """Return what the installed script does, by the project's own table."""
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    module, _, name = scripts["talweg"].partition(":")
    return [sys.executable, "-c", f"from {module} import {name}; {name}()", *arguments]


@pytest.mark.parametrize("late", ["google", "click"])
def test_an_interrupt_while_the_client_is_imported_says_nothing(
    late: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"{late}.py").write_text("import signal; signal.raise_signal(signal.SIGINT)")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", ":".join(filter(None, sys.path)))
    done = subprocess.run(installed("jobs"), capture_output=True, text=True, timeout=360)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_it_hands_on_arguments_and_exit_status() -> None:
    done = subprocess.run(installed("no-such"), capture_output=True, text=True, timeout=360)
    assert done.returncode == 2
    assert "No such command 'no-such'" in done.stderr
