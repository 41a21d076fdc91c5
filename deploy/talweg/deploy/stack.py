"""An embedded stack, from start to stop."""

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from types import FrameType

from talweg.deploy.batch import INTERRUPTED
from talweg.deploy.errors import PortTakenError
from talweg.deploy.folder import Folder, FolderLock
from talweg.deploy.services.definitions import (
    BROKER,
    PREFERRED_PORTS,
    SERVER,
    TRACKING,
    EmbeddedPlan,
)
from talweg.deploy.services.gpus import visible_gpus
from talweg.deploy.settings import Settings
from talweg.deploy.stackfile import StackFile, versions
from talweg.deploy.supervision.ports import Ports, is_free
from talweg.deploy.supervision.processes import Guardian, end_leftovers
from talweg.deploy.supervision.supervisor import Hooks, Supervisor
from talweg.spec.identity.secrets import read_secret
from talweg.spec.local.mlflow_access import needs_token, with_link_token
from talweg.spec.local.stackfile import last_stack_file, stacks_folder

LOG_CHECK_SECONDS = 60.0
# Pause before a stack.json that could not be written is written again.
FILE_RETRY_SECONDS = 1.0
# How long the follow program may take to restore the terminal.
BESIDE_SECONDS = 3.0
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Signals:
    """Convert signals to flags, and wake a waiting loop when one arrives."""

    def __init__(self) -> None:
        """Install handlers permanently: use it in the main thread of a dedicated process."""
        self.num_stops = 0
        self._reader, self._writer = socket.socketpair()
        for end in (self._reader, self._writer):
            end.setblocking(False)
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in _STOP_SIGNALS:
            signal.signal(number, self._count)
        # With any handler, the death of a service wakes the loop.
        signal.signal(signal.SIGCHLD, lambda number, frame: None)

    def wait(self, seconds: float) -> None:
        """Wait for a signal, up to a time limit."""
        if select.select([self._reader], [], [], seconds)[0]:
            self._reader.recv(4096)

    def _count(self, number: int, frame: FrameType | None) -> None:
        self.num_stops += 1


@dataclass(frozen=True)
class Options:
    """Options of one run of a stack."""

    port: int | None = None
    """The port of the gRPC server, which must be free; None for the first free one from 7070 on, 0
    for any."""
    follow: Sequence[str] = ()
    """A program to run once the stack is ready; it gets the server in TALWEG_ADDRESS."""
    once: bool = False
    """Whether to stop when that program has ended."""
    workers: int | None = None
    """How many workers; one per GPU, or one on the CPU, if None."""


class Stack:
    """Start the services of a data folder, keep them running, and stop them."""

    def __init__(self, settings: Settings, options: Options, say: Callable[[str], None]) -> None:
        """Start nothing yet.

        Args:
            settings: The data folder, and services that run already.
            options: What to do.
            say: Prints a line for people.
        """
        self._settings = settings
        self._options = options
        self._say_to_people = say
        self._folder = Folder(settings.data.absolute())
        self._ports = Ports()
        self._facts: dict[str, object] = {}
        self._deferred: list[str] | None = None
        self._write_again_at: float | None = None

    def run(self) -> int:
        """Run until a signal arrives or, with `once`, until the follow program has ended.

        Returns:
            The exit status: that program's with `once`, else 0.

        Raises:
            FolderInUseError: Another stack runs in the folder.
            BrokerNotFoundError: There is no broker to start.
            PortTakenError: The requested port is taken.
            StartError: A service did not start.
        """
        begun = time.monotonic()
        # Only the owner may read specs, results and logs; the services inherit this.
        os.umask(0o077)
        self._folder.create()
        with ExitStack() as stack:
            stack.enter_context(FolderLock(self._folder))
            signals = Signals()
            stack.enter_context(self._ports)
            self._folder.rotate_logs()
            self._note(f"Starting Talweg {versions()['talweg']} in {self._folder.root}")
            if num_ended := end_leftovers(self._folder.root):
                self._note(f"Killed {num_ended} remaining processes of an earlier stack")
            self._plan = EmbeddedPlan(
                self._folder,
                self._settings,
                self._ports,
                visible_gpus(),
                num_workers=self._options.workers,
            )
            self._choose_ports()
            self._file = StackFile(
                self._folder.stack_file, last_stack_file(os.environ), stacks_folder(create=True)
            )
            stack.callback(self._file.remove)
            guardian = stack.enter_context(Guardian())
            hooks = Hooks(say=self._note, changed=self._write_file, died=self._on_death)
            self._supervisor = Supervisor(self._plan, self._folder, guardian, hooks)
            try:
                return self._loop(signals, guardian, begun)
            finally:
                self._release()
                self._note("Stopping Talweg")
                asked = signals.num_stops
                self._supervisor.stop(is_hurried=lambda: signals.num_stops > asked)
                self._note("All services have stopped")

    def _loop(self, signals: Signals, guardian: Guardian, begun: float) -> int:
        beside: subprocess.Popen[bytes] | None = None
        logs_checked = begun
        essential = (*self._plan.needs(TRACKING), *self._plan.needs(SERVER))
        is_tracking_told = TRACKING not in self._plan.names
        try:
            while not signals.num_stops:
                self._supervisor.tick()
                if not self._facts and all(map(self._supervisor.was_ready, essential)):
                    self._announce(time.monotonic() - begun)
                    if self._options.follow:
                        self._deferred = []
                        beside = guardian.start_beside(
                            self._options.follow, env=self._plan.environment()
                        )
                if not is_tracking_told and self._supervisor.was_ready(TRACKING):
                    is_tracking_told = True
                    self._note(f"MLflow is ready at {self._plan.tracking_address}")
                    self._say_link()
                if beside is not None and beside.poll() is not None:
                    if self._options.once:
                        return beside.returncode
                    self._release()
                    beside = None
                    self._say("The stack keeps running; Ctrl-C stops everything.")
                if self._write_again_at and time.monotonic() > self._write_again_at:
                    self._write_file()
                if time.monotonic() - logs_checked > LOG_CHECK_SECONDS:
                    logs_checked = time.monotonic()
                    self._folder.shorten_logs()
                signals.wait(self._supervisor.next_tick)
        finally:
            if beside is not None and beside.poll() is None:
                beside.terminate()
                with suppress(subprocess.TimeoutExpired):
                    beside.wait(BESIDE_SECONDS)
                beside.kill()
                beside.wait()
        return INTERRUPTED if self._options.once else 0

    def _choose_ports(self) -> None:
        wanted = self._options.port
        for service, preferred in PREFERRED_PORTS.items():
            if service in self._plan.names:
                asked = wanted if service == SERVER else None
                self._ports.choose(service, preferred if asked is None else asked)
        if wanted and self._ports.chosen[SERVER] != wanted:
            raise PortTakenError(f"port {wanted} is taken; choose another one, or 0 for any")

    def _on_death(self, name: str, failed_starts: int, was_ready: bool) -> tuple[str, ...]:
        """Fix what may prevent a start: a port that was taken meanwhile."""
        port = self._ports.chosen.get(name)
        if port is None or was_ready or is_free(port):
            return ()
        if name == SERVER and self._options.port:
            raise PortTakenError(f"port {port} was taken by another program")
        instead = self._ports.choose(name, port)
        self._note(f"port {port} was taken by another program; {name} uses {instead}")
        # These services know the old address; workers release their jobs as at any stop.
        return (SERVER, *self._plan.workers) if name == BROKER else self._plan.workers

    def _announce(self, seconds: float) -> None:
        started = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        self._facts = {"versions": versions(), "started": started}
        self._write_file()
        rows = [("server", self._ports.address(SERVER), "gRPC")]
        rows += [(name, "", self._supervisor.description(name)) for name in self._plan.workers]
        rows += [("broker", self._plan.broker_address, self._supervisor.description(BROKER))]
        starting = "starting" if TRACKING in self._plan.names else ""
        rows += [("MLflow", self._plan.tracking_address, starting)]
        for name, address, remark in rows:
            self._say(f"  {name:<10}{address:<24}{remark}".rstrip())
        self._note(f"Ready in {seconds:.1f} s. Ctrl-C stops everything.")

    def _write_file(self) -> None:
        if not self._facts:
            return
        facts = {
            "data": str(self._folder.root),
            "server": self._ports.address(SERVER),
            "tracking": self._plan.tracking_address,
            "tracking_pages": self._plan.tracking_pages,
            "tracking_needs_token": needs_token(),
            "broker": self._plan.broker_address,
            "parts": self._supervisor.pids,
            **self._facts,
        }
        try:
            self._file.write(facts)
        except OSError as error:
            # A full disk, mostly: no reason to end what still runs.
            if self._write_again_at is None:
                self._note(
                    f"{self._folder.stack_file} cannot be written, and is tried again: {error}"
                )
            self._write_again_at = time.monotonic() + FILE_RETRY_SECONDS
        else:
            if self._write_again_at is not None:
                self._note(f"{self._folder.stack_file} is written again")
            self._write_again_at = None

    def _note(self, text: str) -> None:
        """Log a line and print it, at once or when the follow program has ended."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        # A full disk must not end running services.
        with suppress(OSError), self._folder.open_log("up") as log:
            log.write(f"{now} {text}\n".encode())
        self._later(text)

    def _later(self, text: str) -> None:
        """Print a line, at once or when the follow program has ended."""
        if self._deferred is None:
            self._say(text)
        else:
            # That program draws progress bars, which a line from here would break.
            self._deferred.append(text)

    def _say_link(self) -> None:
        """Print the link that opens MLflow where its address does not, if people alone see it."""
        if needs_token() and sys.stdout.isatty():
            token = read_secret(self._folder.tracking_token)
            self._later(f"Open it by {with_link_token(self._plan.tracking_pages, token)}")

    def _say(self, text: str) -> None:
        # The terminal may be gone; the services must still stop in order.
        with suppress(OSError):
            self._say_to_people(text)

    def _release(self) -> None:
        lines, self._deferred = self._deferred or (), None
        for line in lines:
            self._say(line)
