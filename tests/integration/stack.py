"""A whole stack, as `talweg up` starts it, in a folder of its own."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests._parts import wait_until

from talweg.client import Client

TALWEG = [sys.executable, "-m", "talweg.client.cli"]


@dataclass
class Stack:
    """A running stack of its own, in a folder of its own."""

    data: Path
    process: subprocess.Popen[bytes]
    env: dict[str, str]

    @property
    def facts(self) -> dict[str, Any]:
        """What stack.json says now."""
        facts: dict[str, Any] = json.loads((self.data / "stack.json").read_text())
        return facts

    @property
    def address(self) -> str:
        return str(self.facts["server"])

    @property
    def tracking(self) -> str:
        return str(self.facts["tracking"])

    @property
    def data_root(self) -> Path:
        """The folder whose files jobs of the shared stack may name by their URIs."""
        return self.data.parent / "root"

    @property
    def token(self) -> str:
        """The token of its admin."""
        return (self.data / "admin-token").read_text().strip()

    def pid(self, part: str) -> int:
        return int(self.facts["parts"][part])

    def kill(self, part: str, sig: signal.Signals = signal.SIGKILL) -> None:
        """End a part by a signal and wait until another process has taken its place."""
        old = self.pid(part)
        os.kill(old, sig)
        wait_until(lambda: self.pid(part) != old, timeout=30, what=f"{part} started again")

    def worker_child(self) -> int | None:
        """Return the process that trains, or None while there is none."""
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.pid("worker-0")).children(recursive=True):
                if "talweg.worker.tracking" not in " ".join(child.cmdline()):
                    return child.pid
        return None

    def run(self, *arguments: str, timeout: float = 360) -> subprocess.CompletedProcess[str]:
        """Run the command line against this stack."""
        return subprocess.run(
            [*TALWEG, *arguments], env=self.env, capture_output=True, text=True, timeout=timeout
        )

    def client(self) -> Client:
        return Client(self.address)

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(180)


def start_stack(folder: Path, *, before: Sequence[str] = (), **settings: str) -> Stack:
    """Start `talweg up` in `folder` and return when it is ready.

    Args:
        folder: For its data, its state and its log.
        before: A program and its arguments that becomes `talweg up`, as `env` does.
        settings: Variables of its environment.
    """
    data = folder / "data"
    env = {name: value for name, value in os.environ.items() if not name.startswith("TALWEG_")}
    env |= {"TALWEG_DATA": str(data), "XDG_STATE_HOME": str(folder / "state"), **settings}
    log = (folder / "up.log").open("wb")
    process = subprocess.Popen(
        [*before, *TALWEG, "up", "--data", str(data)],
        env=env,
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    log.close()

    def ready() -> bool:
        if process.poll() is not None:
            pytest.fail(f"talweg up ended: {(folder / 'up.log').read_text()}")
        with contextlib.suppress(FileNotFoundError, KeyError, json.JSONDecodeError):
            facts = json.loads((data / "stack.json").read_text())
            return "worker-0" in facts["parts"] and "server" in facts
        return False

    stack = Stack(data=data, process=process, env=env)
    try:
        wait_until(ready, timeout=60, what="talweg up is ready")
    except BaseException:
        stack.stop()
        raise
    return stack


def tiny_spec(seed: int = 0, **fields: Any) -> dict[str, Any]:
    """Five steps without outputs."""
    return {
        "task": "regression",
        "dataset": "diabetes",
        "model": {"mlp": {"hidden": [8]}},
        "loss": "mse",
        "training": {"steps": 5, "seed": seed},
        "outputs": {"model": False, "plots": False},
        **fields,
    }
