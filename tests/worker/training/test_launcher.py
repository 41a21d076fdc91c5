"""The processes beside a job's first: who may reach them, how they end, and what is said then."""

import os
import signal
import stat
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
import torch
from tests._parts import wait_until
from tests._sockets import beyond_loopback, listeners
from tests.worker._ranks import Kills, members
from tests.worker.training.jobs import run
from tests.worker.training.test_processes import two_cores, wine

from talweg.v1.jobs_pb2 import Job, Outcome
from talweg.worker.training import Stop
from talweg.worker.training.distributed import launcher, processes

LONG = {"epochs": 100_000, "batch_size": 15}
# As `test_a_process_ends_with_the_first` runs it.
_RUN = """
from talweg.worker import training
from tests.worker.training.test_launcher import LONG
from tests.worker.training.test_processes import wine

training.run(
    wine(2, training=LONG),
    report=training.NullReporter(), control=training.NeverStop(), device="cpu",
)
"""


class Looks:
    """A control that looks at all processes in the fifth step, and then stops."""

    def __init__(self) -> None:
        self._steps = 0
        self.listeners: dict[str, list[str]] = {}
        self.folders: list[tuple[int, int]] = []

    def check(self) -> Stop | None:
        self._steps += 1
        if self._steps < 5:
            return None
        self.listeners = listeners([psutil.Process(), *members()])
        for member in members():
            line = member.cmdline()
            folder = Path(line[line.index(launcher.MODULE) + 1]).stat()
            self.folders.append((stat.S_IMODE(folder.st_mode), folder.st_uid))
        return Stop("cancel")


@two_cores
def test_nobody_else_gets_at_the_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Neither by what the environment says nor by a module in the working folder.
    (tmp_path / "json.py").write_text('raise ImportError("not this one")')
    monkeypatch.chdir(tmp_path)
    for name, addresses in psutil.net_if_addrs().items():
        if any(a.family.name == "AF_INET" and a.address[:4] != "127." for a in addresses):
            monkeypatch.setenv("GLOO_SOCKET_IFNAME", name)
    looks = Looks()
    result, _ = run(wine(2), looks)
    assert result.state == Job.CANCELLED
    assert len(looks.listeners) == 2
    assert beyond_loopback(looks.listeners) == {}
    assert looks.folders == [(0o700, os.getuid())]
    assert members() == []
    assert not torch.distributed.is_initialized()


@two_cores
def test_a_killed_process_is_named_and_ends_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    # Three processes, on however many cores.
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(3))

    class KillsTheLast(Kills):
        def check(self) -> Stop | None:
            self._left -= 1
            if self._left == 0:
                last = max(members(), key=lambda process: process.cmdline()[-2])
                self.killed = [last.pid]
                os.kill(last.pid, signal.SIGSEGV)
            return None

    kills = KillsTheLast(5)
    with pytest.raises(launcher.ProcessLostError) as caught:
        run(wine(3, training=LONG), kills)
    assert len(kills.killed) == 1
    assert str(caught.value) == (
        "the process of rank 2 (of 3) was killed by SIGSEGV, a crash of native code: a plug-in's, "
        "a library's or a driver's"
    )
    assert members() == []
    assert not torch.distributed.is_initialized()


def _instead(monkeypatch: pytest.MonkeyPatch, folder: Path, program: str) -> None:
    """Have the other processes run a program of this folder."""
    (folder / "instead.py").write_text(program)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.setattr(launcher, "MODULE", "instead")


@two_cores
@pytest.mark.timeout(720)
def test_a_process_that_fails_before_it_has_come_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_PATIENCE", timedelta(hours=1))
    _instead(monkeypatch, tmp_path, 'raise ValueError("no such thing")')
    with pytest.raises(launcher.ProcessLostError) as caught:
        run(wine(2))
    assert str(caught.value) == (
        "the process of rank 1 (of 2) ended with status 1: ValueError: no such thing"
    )


@two_cores
def test_what_a_process_says_of_the_job_fails_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = f'{{"cause": {Outcome.OUT_OF_MEMORY}, "message": "too much"}}'
    program = f"""
import pathlib, sys
(pathlib.Path(sys.argv[1]) / "failed-1.json").write_text('{said}')
sys.exit({launcher.FAILED_STATUS})
"""
    _instead(monkeypatch, tmp_path, program)
    result, _ = run(wine(2))
    assert (result.state, result.cause) == (Job.FAILED, Outcome.OUT_OF_MEMORY)
    assert result.message == "too much"


@two_cores
def test_a_process_ends_with_the_first() -> None:
    first = subprocess.Popen(
        [sys.executable, "-c", _RUN], stdin=subprocess.DEVNULL, cwd=Path(__file__).parents[3]
    )

    def training() -> list[psutil.Process]:
        """The other process, once both have met."""
        others = psutil.Process(first.pid).children()
        assert first.poll() is None
        return others if listeners(others) else []

    try:
        others = wait_until(training, timeout=120, what="two processes have met")
    finally:
        first.kill()
        first.wait()
    _, alive = psutil.wait_procs(others, timeout=30)
    assert alive == []


def test_a_process_ends_once_its_stdin_closes() -> None:
    """As on systems where the kernel does not end it."""
    program = """
from talweg.worker.parents import end_with_stdin
print(flush=True)
end_with_stdin()
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"\n"
        assert process.poll() is None
        process.stdin.close()
        assert process.wait(180) == 1
