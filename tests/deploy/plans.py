"""Small plans for the supervisor: services that are a few lines of Python."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from talweg.deploy.services.definitions import Service

# Says that it is ready, then waits for SIGTERM.
SERVE = "import pathlib, sys, time; pathlib.Path(sys.argv[1]).touch(); time.sleep(1000)"
# Has a child of its own that would outlive it.
WITH_CHILD = (
    "import pathlib, subprocess, sys, time;"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1000)']);"
    "pathlib.Path(sys.argv[1] + '.child').write_text(str(child.pid));"
    "pathlib.Path(sys.argv[1]).touch(); time.sleep(1000)"
)
# Does not care for SIGTERM.
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + SERVE


@dataclass
class SmallPlan:
    """Services by name, each a script."""

    root: Path
    scripts: Mapping[str, str]
    needed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    stop_order: tuple[tuple[str, ...], ...] = ()
    stop_seconds: float = 5.0
    is_essential: bool = True
    started: list[str] = field(default_factory=list)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.scripts)

    def needs(self, name: str) -> tuple[str, ...]:
        return self.needed.get(name, ())

    def environment(self) -> dict[str, str]:
        return {}

    def ready_file(self, name: str) -> Path:
        return self.root / f"{name}.ready"

    def child(self, name: str) -> int:
        return int(Path(f"{self.ready_file(name)}.child").read_text())

    def service(self, name: str) -> Service:
        self.started.append(name)
        ready_file = self.ready_file(name)
        ready_file.unlink(missing_ok=True)
        return Service(
            name=name,
            command=(sys.executable, "-c", self.scripts[name], str(ready_file)),
            env={},
            is_ready=lambda pid: ready_file.exists(),
            description="",
            stop_seconds=self.stop_seconds,
            is_essential=self.is_essential,
        )
