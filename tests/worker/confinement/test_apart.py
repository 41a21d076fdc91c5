"""Programs that run code of others: how they end, and that nothing of theirs lives on."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from tests._parts import wait_until

from talweg.worker.confinement.apart import run_apart

# It leaves its session and its parent, as a daemon does.
DAEMON = """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(86_400)
    os._exit(0)
"""


STARTER = """
import os, sys
from talweg.worker.confinement.apart import run_apart
run_apart(["-c", *sys.argv[1:]], env=os.environ, seconds=86_400)
"""
# For programs that take too long: in which they start.
SECONDS = 8.0


@pytest.fixture(params=["", "off"], ids=["with namespaces", "without"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def program_of(code: str) -> str:
    return (
        "import os, signal, sys, time\n"
        "from talweg.worker.confinement.apart import live_apart\n"
        "from talweg.worker.parents import die_with_parent\n"
        f"die_with_parent(os.getppid())\nlive_apart()\n{code}"
    )


def run(
    folder: Path, code: str, mode: str, *, seconds: float = 300.0
) -> subprocess.CompletedProcess[bytes]:
    env = {**os.environ, "TALWEG_SANDBOX": mode}
    return run_apart(["-c", program_of(code), str(folder)], env=env, seconds=seconds)


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
        run(tmp_path, code, mode, seconds=SECONDS)
    assert raised.value.stdout == b"said\n"
    assert living(tmp_path) == []


def test_nothing_lives_on_of_one_that_stops_the_first_process(tmp_path: Path) -> None:
    code = "os.kill(os.getpgrp(), signal.SIGSTOP)"
    with pytest.raises(subprocess.TimeoutExpired):
        run(tmp_path, code, "off", seconds=SECONDS)
    assert living(tmp_path) == []


def test_it_ends_with_whoever_started_it(tmp_path: Path, mode: str) -> None:
    ready = tmp_path / "ready"
    program = program_of(f"open({str(ready)!r}, 'w').close()\ntime.sleep(86_400)")
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER, program, str(tmp_path)],
        env={**os.environ, "TALWEG_SANDBOX": mode},
    )
    try:
        wait_until(ready.exists, timeout=120, what="it lives")
        assert len(living(tmp_path)) > 2
    finally:
        starter.kill()
        starter.wait()
    wait_until(lambda: not living(tmp_path), timeout=60, what="all of it ends")


def test_the_end_is_kept_of_what_it_says(tmp_path: Path) -> None:
    code = "for _ in range(100): sys.stdout.write('x' * 2**18)\nprint('end')"
    said = run(tmp_path, code, "off").stdout
    assert len(said) == 2**22
    assert said.endswith(b"xend\n")
