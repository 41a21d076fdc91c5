"""Programs that run code of others: how they end, and that nothing of theirs lives on."""

import os
import subprocess
from pathlib import Path

import psutil
import pytest

from talweg.worker.confinement.apart import run_apart

# It leaves its session and its parent, as a daemon does.
DAEMON = """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(86_400)
    os._exit(0)
"""


@pytest.fixture(params=["", "off"], ids=["with namespaces", "without"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def run(
    folder: Path, code: str, mode: str, *, seconds: float = 300.0
) -> subprocess.CompletedProcess[bytes]:
    program = (
        "import os, signal, sys, time\n"
        "from talweg.worker.confinement.apart import live_apart\n"
        f"live_apart()\n{code}"
    )
    env = {**os.environ, "TALWEG_SANDBOX": mode}
    return run_apart(["-c", program, str(folder)], env=env, folder=folder, seconds=seconds)


def living(folder: Path) -> list[int]:
    """Return the processes of a program, all of which name the folder."""
    return [
        each.pid
        for each in psutil.process_iter(["cmdline", "status"])
        if str(folder) in (each.info["cmdline"] or ())
        and each.info["status"] != psutil.STATUS_ZOMBIE
    ]


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("print('said')", 0),
        ("sys.exit(3)", 3),
        ("os.kill(os.getpid(), signal.SIGKILL)", -9),
        ("os.abort()", -6),
    ],
)
def test_it_ends_as_the_program_does(tmp_path: Path, mode: str, code: str, status: int) -> None:
    done = run(tmp_path, code, mode)
    assert done.returncode == status
    assert done.stdout == (b"said\n" if status == 0 else b"")
    assert done.stderr == b""


def test_nothing_of_it_lives_on(tmp_path: Path, mode: str) -> None:
    assert run(tmp_path, DAEMON, mode).returncode == 0
    assert living(tmp_path) == []


def test_nothing_lives_on_of_one_that_takes_too_long(tmp_path: Path, mode: str) -> None:
    code = f"{DAEMON}\nprint('said', flush=True)\ntime.sleep(86_400)"
    with pytest.raises(subprocess.TimeoutExpired) as raised:
        run(tmp_path, code, mode, seconds=3)
    assert raised.value.stdout in (b"said\n", b"")
    assert living(tmp_path) == []


def test_the_end_is_kept_of_what_it_says(tmp_path: Path) -> None:
    code = "for _ in range(100): sys.stdout.write('x' * 2**18)\nprint('end')"
    said = run(tmp_path, code, "off").stdout
    assert len(said) == 2**22
    assert said.endswith(b"xend\n")
