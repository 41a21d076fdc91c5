"""Nothing outlives the process that started it."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from tests._parts import wait_until
from tests.deploy.upped import guardian_of

from talweg.deploy.supervision.processes import MARK, end_leftovers


@pytest.fixture
def starter(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.deploy.mini_up", str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    yield process
    process.kill()
    process.communicate()


def started(starter: subprocess.Popen[str]) -> list[psutil.Process]:
    assert starter.stdout is not None
    return [psutil.Process(int(pid)) for pid in starter.stdout.readline().split()]


def all_gone(processes: list[psutil.Process]) -> bool:
    return not any(process.is_running() for process in processes)


def test_kill_9_of_the_starter_leaves_no_child_and_no_grandchild(
    starter: subprocess.Popen[str],
) -> None:
    service, child = started(starter)
    guardian = guardian_of(starter.pid)
    assert guardian is not None
    os.kill(starter.pid, signal.SIGKILL)
    wait_until(lambda: all_gone([service, child, guardian]), timeout=30, what="all are gone")


def test_a_guardian_that_is_killed_is_replaced(starter: subprocess.Popen[str]) -> None:
    service, child = started(starter)
    first = guardian_of(starter.pid)
    assert first is not None
    first.kill()

    def replaced() -> bool:
        now = guardian_of(starter.pid)
        return now is not None and now.pid != first.pid

    wait_until(replaced, timeout=30, what="another guardian is there")
    os.kill(starter.pid, signal.SIGKILL)
    wait_until(lambda: all_gone([service, child]), timeout=30, what="all are gone")


def test_ctrl_c_of_the_starter_leaves_nobody(starter: subprocess.Popen[str]) -> None:
    processes = started(starter)
    os.kill(starter.pid, signal.SIGINT)
    wait_until(lambda: all_gone(processes), timeout=30, what="all are gone")


def test_the_guardian_does_not_mind_the_signals_of_a_terminal(
    starter: subprocess.Popen[str],
) -> None:
    processes = started(starter)
    guardian = guardian_of(starter.pid)
    assert guardian is not None

    def ignored() -> bool:
        (mask,) = re.findall(r"SigIgn:\s*(\w+)", Path(f"/proc/{guardian.pid}/status").read_text())
        return all(int(mask, 16) >> (number - 1) & 1 for number in numbers)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    wait_until(ignored, timeout=30, what="the guardian has started")
    for number in numbers:
        guardian.send_signal(number)
    os.kill(starter.pid, signal.SIGKILL)
    wait_until(lambda: all_gone(processes), timeout=30, what="all are gone")


def test_what_nobody_was_left_to_end_is_ended_by_the_next_stack(tmp_path: Path) -> None:
    sleep = [sys.executable, "-c", "import time; time.sleep(1000)"]
    mine, other = (
        subprocess.Popen(sleep, env={MARK: str(folder)})
        for folder in (tmp_path, tmp_path / "other")
    )
    try:
        wait_until(
            lambda: all(psutil.Process(p.pid).cmdline() == sleep for p in (mine, other)),
            timeout=5,
            what="both have started",
        )
        assert end_leftovers(tmp_path) == 1
        assert mine.wait(30) == -signal.SIGKILL
        assert other.poll() is None
        assert end_leftovers(tmp_path) == 0
    finally:
        for process in (mine, other):
            process.kill()
            process.wait()


def test_a_stack_started_from_within_its_own_folders_stack_spares_itself(tmp_path: Path) -> None:
    imported = "from talweg.deploy.supervision.processes import *"
    ends = f"{imported}; print(end_leftovers(Path({str(tmp_path)!r})))"
    done = subprocess.run(
        [sys.executable, "-c", ends],
        env={MARK: str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "0"), done.stderr
