"""What `make run` says while it installs."""

import io
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINES = """\
Collecting torch==2.9.0 (from talweg==0.1.0)
  Downloading torch-2.9.0-cp311-cp311-manylinux_2_28_x86_64.whl.metadata (30 kB)
Collecting click>=8.1 (from talweg==0.1.0)
  Using cached click-8.5.1-py3-none-any.whl.metadata (2.6 kB)
Downloading torch-2.9.0-cp311-cp311-manylinux_2_28_x86_64.whl (899.8 MB)
Using cached click-8.5.1-py3-none-any.whl (108 kB)
Installing collected packages: torch, click
"""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(scope="module")
def module() -> dict[str, object]:
    return runpy.run_path(str(ROOT / "deploy/pip_progress.py"))


def said(module: dict[str, object], out: io.StringIO) -> str:
    progress = module["Progress"](out)  # type: ignore[operator]
    for line in LINES.splitlines():
        progress.take(line)
    progress.end()
    return out.getvalue()


def test_a_terminal_has_one_line_that_changes(module: dict[str, object]) -> None:
    text = said(module, Terminal())
    assert "\n" not in text
    parts = [part[7:] for part in text.split("\r\x1b[K")[1:]]
    assert parts == [
        "choosing versions: 1 package",
        "choosing versions: 2 packages",
        "[1/2] downloading torch-2.9.0 (899.8 MB)",
        "[2/2] taking from the cache click-8.5.1 (108 kB)",
        "unpacking 2 packages",
        "",
    ]


def test_elsewhere_large_files_and_phases_are_lines(module: dict[str, object]) -> None:
    assert [line[7:] for line in said(module, io.StringIO()).splitlines()] == [
        "choosing versions: 1 package",
        "[1/2] downloading torch-2.9.0 (899.8 MB)",
        "unpacking 2 packages",
    ]


def test_the_log_and_the_status_are_those_of_pip(tmp_path: Path) -> None:
    log = tmp_path / "install.log"
    script = str(ROOT / "deploy/pip_progress.py")
    done = subprocess.run([sys.executable, script, str(log), "--version"], check=False)
    assert done.returncode == 0
    assert log.read_text().startswith("pip ")
    done = subprocess.run([sys.executable, script, str(log), "no-such-command"], check=False)
    assert done.returncode != 0
    assert "no-such-command" in log.read_text()


@pytest.mark.skipif(not shutil.which("sh"), reason="needs sh")
def test_the_script_is_valid() -> None:
    subprocess.run(["sh", "-n", str(ROOT / "deploy/install.sh")], check=True)
