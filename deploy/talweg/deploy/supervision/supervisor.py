"""Start services, restart them when they die, and stop them in order."""

import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from talweg.deploy.errors import StartError
from talweg.deploy.folder import Folder
from talweg.deploy.services.definitions import Service
from talweg.deploy.supervision.processes import Guardian

# Delays before a restart, in seconds: doubled with each death, reset once the service has been
# ready for CALM seconds.
SHORTEST_DELAY, LONGEST_DELAY, CALM = 0.1, 15.0, 20.0
# An essential service that dies this often before it is first ready will not start.
HOPELESS_STARTS = 4
# Nor will one that needs more seconds than this to become ready for the first time.
START_SECONDS = 120.0
_SHORTEST_WAIT, _READY_ASKS = 0.02, 0.05


class Plan(Protocol):
    """The services to run."""

    @property
    def names(self) -> tuple[str, ...]:
        """All services, in the order of their start."""

    @property
    def stop_order(self) -> tuple[tuple[str, ...], ...]:
        """Groups of services that stop together, in order."""

    def needs(self, name: str) -> tuple[str, ...]:
        """Return the services that must have been ready before this one starts first."""

    def service(self, name: str) -> Service:
        """Prepare a service for its next start."""

    def environment(self) -> dict[str, str]:
        """Return the variables that all services get."""


@dataclass
class _Running:
    """The state of a service."""

    service: Service | None = None
    process: subprocess.Popen[bytes] | None = None
    pid: int = 0
    """The id of the latest process, even after its death."""
    is_ready: bool = False
    was_ready: bool = False
    ready_at: float = 0.0
    first_start: float = 0.0
    start_at: float = 0.0
    deaths: int = 0
    """Deaths in a row, without a calm period in between."""
    failed_starts: int = 0
    """Deaths before it was ready, in a row."""
    end_by: float = 0.0
    """When its process is killed if it does not end for a restart; 0 without a restart."""


@dataclass(frozen=True)
class Hooks:
    """Callbacks, called from the thread that calls `tick`."""

    say: Callable[[str], None]
    """Print a line for people."""
    changed: Callable[[], None]
    """A service became ready or was restarted."""
    died: Callable[[str, int, bool], Iterable[str]]
    """A service died: its name, its failed starts in a row, and whether it was ever ready. Returns
    services that must restart because their settings have changed."""


class Supervisor:
    """Keep the services of a plan running. All work is done in `tick`, in the caller's thread."""

    def __init__(self, plan: Plan, folder: Folder, guardian: Guardian, hooks: Hooks) -> None:
        """Start nothing yet."""
        self._plan = plan
        self._folder = folder
        self._guardian = guardian
        self._hooks = hooks
        self._running = {name: _Running() for name in plan.names}

    @property
    def pids(self) -> dict[str, int]:
        """The process ids of services that have been ready, by name."""
        return {name: r.pid for name, r in self._running.items() if r.was_ready}

    def was_ready(self, name: str) -> bool:
        """Return whether a service has ever been ready."""
        return self._running[name].was_ready

    def description(self, name: str) -> str:
        """Return the description of a service; empty before its first start."""
        service = self._running[name].service
        return service.description if service else ""

    def tick(self) -> None:
        """Do what is due: starts, checks, restarts.

        Raises:
            StartError: An essential service does not start.
        """
        self._guardian.watch()
        for name, running in self._running.items():
            if running.process is None:
                if time.monotonic() >= running.start_at:
                    self._start(name, running)
            elif running.end_by:
                if running.process.poll() is not None or time.monotonic() > running.end_by:
                    self._end(running)
                    running.start_at = 0.0
            elif running.process.poll() is not None:
                self._bury(name, running)
            elif not running.is_ready:
                self._ask(name, running)
            elif running.deaths and time.monotonic() - running.ready_at > CALM:
                running.deaths = 0

    @property
    def next_tick(self) -> float:
        """Seconds until the next tick is due; deaths are signalled separately."""
        if any(r.process is not None and not r.is_ready for r in self._running.values()):
            return _READY_ASKS
        dues = [r.start_at - time.monotonic() for r in self._running.values() if not r.process]
        return max(_SHORTEST_WAIT, min([1.0, *dues]))

    def restart(self, name: str) -> None:
        """Stop a service in order and start it again at once."""
        running = self._running[name]
        if running.process is not None and not running.end_by:
            assert running.service is not None
            if running.process.poll() is None:
                running.process.terminate()
            running.end_by = time.monotonic() + running.service.stop_seconds

    def stop(self, *, is_hurried: Callable[[], bool]) -> None:
        """Stop every service in order; kill it when hurried or when it takes too long.

        Args:
            is_hurried: Polled; once true, the remaining services are killed.
        """
        for names in self._plan.stop_order:
            together = [self._running[name] for name in names if name in self._running]
            self._stop_together(together, is_hurried)

    def _start(self, name: str, running: _Running) -> None:
        if not running.first_start:
            if not all(self._running[need].was_ready for need in self._plan.needs(name)):
                running.start_at = time.monotonic() + _SHORTEST_WAIT
                return
            running.first_start = time.monotonic()
        try:
            service = self._plan.service(name)
            env = self._plan.environment() | dict(service.env)
            with self._folder.open_log(name) as log:
                running.process = self._guardian.start(
                    service.command, env=env, cwd=self._folder.root, log=log
                )
        except OSError as error:
            if not running.was_ready:
                raise
            # What has run may run again, as soon as a full disk has room or memory is freed.
            self._start_later(name, running, f"cannot be started ({error})")
            return
        running.service, running.pid = service, running.process.pid
        if running.was_ready:
            self._hooks.changed()

    def _ask(self, name: str, running: _Running) -> None:
        assert running.service is not None
        if running.service.is_ready(running.pid):
            running.is_ready = running.was_ready = True
            running.failed_starts = 0
            running.ready_at = time.monotonic()
            self._hooks.changed()
        elif (
            running.service.is_essential
            and not running.was_ready
            and time.monotonic() - running.first_start > START_SECONDS
        ):
            raise self._hopeless(name, f"is not ready after {START_SECONDS:.0f} s")

    def _bury(self, name: str, running: _Running) -> None:
        assert running.process is not None
        assert running.service is not None
        status = running.process.returncode
        running.failed_starts += not running.is_ready
        self._end(running)
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        may_give_up = running.service.is_essential and not running.was_ready
        if may_give_up and running.failed_starts >= HOPELESS_STARTS:
            raise self._hopeless(name, how)
        self._start_later(name, running, how)
        for other in self._hooks.died(name, running.failed_starts, running.was_ready):
            self.restart(other)

    def _start_later(self, name: str, running: _Running, why: str) -> None:
        running.deaths += 1
        # Of any size, a power of two is no float at last.
        delay = min(SHORTEST_DELAY * 2 ** min(running.deaths - 1, 30), LONGEST_DELAY)
        running.start_at = time.monotonic() + delay
        self._hooks.say(f"{name} {why}; restarting it in {delay:.1f} s")

    def _end(self, running: _Running) -> None:
        """Kill the rest of a service: its children may live on and hold its port or files."""
        assert running.process is not None
        self._guardian.end(running.process)
        running.process, running.is_ready, running.end_by = None, False, 0.0

    def _hopeless(self, name: str, how: str) -> StartError:
        log = self._folder.log_file(name)
        return StartError(
            f"{name} {how}. The end of {log}:\n" + self._folder.end_of_log(name, num_lines=20)
        )

    def _stop_together(self, stopping: list[_Running], is_hurried: Callable[[], bool]) -> None:
        alive = [running for running in stopping if running.process is not None]
        started = time.monotonic()
        for running in alive:
            assert running.process is not None
            if running.process.poll() is None:
                running.process.terminate()
        while alive:
            for running in list(alive):
                assert running.process is not None
                assert running.service is not None
                late = time.monotonic() - started > running.service.stop_seconds
                if running.process.poll() is not None or late or is_hurried():
                    self._end(running)
                    alive.remove(running)
            if alive:
                time.sleep(_SHORTEST_WAIT)
