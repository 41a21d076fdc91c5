"""`talweg up` as a person runs it, and a look at all that it started."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from tests._parts import wait_until

UP = [sys.executable, "-m", "talweg.client.cli", "up"]
START_SECONDS = 60


@dataclass
class Upped:
    """One run of `talweg up`."""

    data: Path
    process: subprocess.Popen[str]
    log: Path

    @property
    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads((self.data / "stack.json").read_text())
        return facts

    @property
    def output(self) -> str:
        return self.log.read_text()

    def pid(self, service: str) -> int:
        return int(self.facts["parts"][service])

    def has(self, *services: str) -> bool:
        """Say whether these services have been ready."""
        if self.process.poll() is not None:
            raise RuntimeError(f"talweg up ended: {self.output}")
        with suppress(FileNotFoundError):
            return self.facts["pid"] == self.process.pid and {*services} <= {*self.facts["parts"]}
        return False

    def wait_for(self, *services: str) -> None:
        wait_until(
            lambda: self.has(*services), timeout=START_SECONDS, what=f"{services} are ready"
        )

    def interrupt(self) -> int:
        """Ctrl-C; the exit status."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(270)


def environment(data: Path) -> dict[str, str]:
    """Variables by which all processes of a stack, `up` included, can be told."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("TALWEG_")}
    state = data.parent / "state"
    return env | {"TALWEG_DATA": str(data), "XDG_STATE_HOME": str(state)}


def processes_of(data: Path) -> list[psutil.Process]:
    """Return all living processes of a stack, whoever their parents are by now."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            if process.environ().get("TALWEG_DATA") == str(data):
                found.append(process)
    return found


def guardian_of(pid: int) -> psutil.Process | None:
    """Return the guardian process that a process has started, where it lives."""
    for child in psutil.Process(pid).children():
        with suppress(psutil.ZombieProcess, psutil.NoSuchProcess):
            if "_guardian.py" in " ".join(child.cmdline()):
                return child
    return None


def talweg(data: Path, *arguments: str, timeout: float = 360) -> subprocess.CompletedProcess[str]:
    """Run the command line, which finds the stack by its folder."""
    command = [sys.executable, "-m", "talweg.client.cli", *arguments]
    env = environment(data)
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=timeout)


@contextmanager
def running_up(data: Path, *arguments: str, **settings: str) -> Iterator[Upped]:
    """Start `talweg up`; whatever happens, nothing of it is left afterwards."""
    data.parent.mkdir(parents=True, exist_ok=True)
    log = data.parent / "up.out"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*UP, *arguments],
            env=environment(data) | settings,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )
    try:
        yield Upped(data, process, log)
    except Exception as exc:
        exc.add_note(log.read_text()[-3000:])
        raise
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(270)
            process.kill()
            process.wait()
        for left in processes_of(data):
            with suppress(psutil.NoSuchProcess):
                left.kill()
