"""The services of an embedded stack: how each is started and when it is ready."""

import http.client
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import psutil

from talweg.deploy.errors import TooManyWorkersError
from talweg.deploy.folder import Folder
from talweg.deploy.services import broker
from talweg.deploy.settings import Settings
from talweg.deploy.supervision.ports import HOST, Ports
from talweg.deploy.supervision.processes import MARK
from talweg.spec.broker import CUDA_QUEUE, DEFAULT_QUEUE
from talweg.spec.identity.secrets import TOKEN, TOKEN_FILE, read_or_create_secret
from talweg.spec.local.environment import past_proxies
from talweg.spec.local.ready import READY_FILE

BROKER, SERVER, TRACKING = "broker", "server", "tracking"
PREFERRED_PORTS = {SERVER: 7070, TRACKING: 5000, BROKER: 6379}
# -P: the working folder belongs to the user and must not shadow modules.
_PYTHON = (sys.executable, "-P", "-m")


@dataclass(frozen=True)
class Service:
    """One process of the stack and how it is treated."""

    name: str
    """Its name in stack.json and logs."""
    command: tuple[str, ...]
    """Program and arguments."""
    env: Mapping[str, str]
    """Variables in addition to those that all services get."""
    is_ready: Callable[[int], bool]
    """Return whether a process is serving. Cheap: called several times per second at the start."""
    description: str
    """A description for display."""
    stop_seconds: float = 5.0
    """How long an orderly stop may take before it is killed."""
    is_essential: bool = True
    """Whether the stack is ready only with it, and fails to start without it."""


class EmbeddedPlan:
    """Create the services of a stack, anew for every start since ports may have changed."""

    def __init__(
        self,
        folder: Folder,
        settings: Settings,
        ports: Ports,
        gpus: list[str],
        *,
        num_workers: int | None = None,
    ) -> None:
        """Find a broker if none is configured.

        Args:
            folder: The data folder.
            settings: The settings.
            ports: The ports.
            gpus: The GPUs, each for one worker.
            num_workers: How many workers; one per GPU, or one on the CPU, if None.

        Raises:
            BrokerNotFoundError: There is none.
            TooManyWorkersError: There are fewer GPUs than workers.
        """
        if num_workers is not None and gpus and num_workers > len(gpus):
            raise TooManyWorkersError(
                f"--workers must be <= {len(gpus)}, the GPUs of this machine, but got "
                f"{num_workers}: a worker needs a GPU of its own. For workers on the CPU set "
                "CUDA_VISIBLE_DEVICES to an empty text"
            )
        self._num_workers = num_workers or max(1, len(gpus))
        self._folder = folder
        self._settings = settings
        self._ports = ports
        self._gpus = gpus
        self._password = ""
        self._broker_program: broker.BrokerProgram | None = None
        if settings.broker_url is None:
            self._broker_program = broker.find_broker()
            self._password = broker.read_password(folder)

    @property
    def names(self) -> tuple[str, ...]:
        """All services, in the order of their start."""
        own_broker = (BROKER,) if self._broker_program else ()
        own_tracking = (TRACKING,) if self._settings.tracking_uri is None else ()
        return (*own_broker, SERVER, *self.workers, *own_tracking)

    @property
    def workers(self) -> tuple[str, ...]:
        """One worker per GPU, or one on the CPU, unless another number was asked for."""
        return tuple(f"worker-{index}" for index in range(self._num_workers))

    def needs(self, name: str) -> tuple[str, ...]:
        """Return the services that must be ready before another starts for the first time."""
        if name == BROKER:
            return ()
        if name in (SERVER, *self.workers):
            return (BROKER,) if BROKER in self.names else ()
        # Importing MLflow takes seconds of both cores; the stack should be ready before.
        return (SERVER, *self.workers)

    @property
    def stop_order(self) -> tuple[tuple[str, ...], ...]:
        """Groups that stop together, in order: workers release their jobs to the server first."""
        return (self.workers, (SERVER, TRACKING), (BROKER,))

    @property
    def broker_url(self) -> str:
        """The URL with the password."""
        if self._settings.broker_url is not None:
            return self._settings.broker_url
        return f"redis://:{self._password}@{self._ports.address(BROKER)}/0"

    @property
    def broker_address(self) -> str:
        """The address without user and password, for display."""
        url = urlsplit(self.broker_url)
        return f"{url.hostname or HOST}:{url.port or 6379}"

    @property
    def tracking_uri(self) -> str:
        """The address of MLflow; a configured one may have a password."""
        return self._settings.tracking_uri or f"http://{self._ports.address(TRACKING)}"

    @property
    def tracking_pages(self) -> str:
        """Where browsers find the pages of this stack's own MLflow; empty if it has none."""
        if self._settings.tracking_uri is not None:
            return ""
        return os.environ.get("TALWEG_PUBLIC_TRACKING_URI", "").rstrip("/") or self.tracking_uri

    @property
    def tracking_address(self) -> str:
        """The address without user and password, for display."""
        url = urlsplit(self.tracking_uri)
        return url._replace(netloc=url.netloc.rpartition("@")[2]).geturl()

    def service(self, name: str) -> Service:
        """Prepare a service for its start: write its files and remove its ready file."""
        if name == BROKER:
            return self._broker()
        if name == TRACKING:
            return self._tracking()
        self._folder.ready_file(name).unlink(missing_ok=True)
        if name == SERVER:
            return self._server()
        return self._worker(name)

    def environment(self) -> dict[str, str]:
        """Return the variables that all services get: the user's and each other's addresses."""
        # Only the server may know the database; MLflow's files are those of this stack or none.
        kept_back = (
            "MLFLOW_TRACKING_URI",
            "TALWEG_DATABASE_URL",
            "TALWEG_TRACKING_ARTIFACTS",
            "TALWEG_TRACKING_DATABASE",
            # The user's, who may be an admin: each service has its own or none.
            TOKEN,
            TOKEN_FILE,
        )
        env = {name: value for name, value in os.environ.items() if name not in kept_back}
        if self._settings.tracking_uri is None:
            # Beside the server, results arrive many times faster.
            env |= {
                "TALWEG_TRACKING_DATABASE": str(self._folder.tracking_database),
                "TALWEG_TRACKING_ARTIFACTS": str(self._folder.tracking_artifacts),
                "TALWEG_TRACKING_TOKEN_FILE": str(self._folder.tracking_token),
            }
        return env | {
            MARK: str(self._folder.root),
            "TALWEG_DATA": str(self._folder.root),
            "TALWEG_ADDRESS": self._ports.address(SERVER),
            "TALWEG_BROKER_URL": self.broker_url,
            "TALWEG_TRACKING_URI": self.tracking_uri,
            "TALWEG_SPOOL_DIR": str(self._folder.spool),
            "TALWEG_DATA_CACHE": os.environ.get("TALWEG_DATA_CACHE")
            or str(self._folder.data_cache),
            "TALWEG_BLOBS": self._settings.blobs or str(self._folder.blobs),
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "PYTHONUNBUFFERED": "1",
            # No proxy may be used between services on one machine.
            **past_proxies(env),
        }

    def _broker(self) -> Service:
        assert self._broker_program is not None
        port, password = self._ports.chosen[BROKER], self._password
        config = broker.write_config(self._folder, port=port, password=password)
        return Service(
            name=BROKER,
            command=(self._broker_program.path, str(config)),
            env={},
            is_ready=lambda pid: broker.answers(port, password),
            description=self._broker_program.version,
        )

    def _server(self) -> Service:
        ready_file = self._folder.ready_file(SERVER)
        url = self._settings.database_url or f"sqlite:///{self._folder.database}"
        return Service(
            name=SERVER,
            command=(*_PYTHON, "talweg.client.cli", "server"),
            env={
                "TALWEG_LISTEN": self._ports.address(SERVER),
                "TALWEG_DATABASE_URL": url,
                "TALWEG_AUTHENTICATION": os.environ.get("TALWEG_AUTHENTICATION") or "token",
                "TALWEG_TOKEN_KEY_FILE": str(self._folder.token_key),
                "TALWEG_ADMIN_TOKEN_FILE": str(self._folder.admin_token),
                "TALWEG_WORKER_TOKEN_FILE": str(self._folder.worker_token),
                "TALWEG_UPLOADS": os.environ.get("TALWEG_UPLOADS") or str(self._folder.uploads),
                "TALWEG_PUBLIC_TRACKING_URI": os.environ.get("TALWEG_PUBLIC_TRACKING_URI")
                or self.tracking_uri,
                READY_FILE: str(ready_file),
            },
            is_ready=lambda pid: ready_file.exists(),
            description="gRPC",
        )

    def _worker(self, name: str) -> Service:
        ready_file = self._folder.ready_file(name)
        index = int(name.rpartition("-")[2])
        # Server and MLflow may not have made them yet; whoever is first does.
        read_or_create_secret(self._folder.worker_token)
        if self._settings.tracking_uri is None:
            read_or_create_secret(self._folder.tracking_token)
        env = {READY_FILE: str(ready_file), TOKEN_FILE: str(self._folder.worker_token)}
        if self._gpus:
            env |= {
                "CUDA_VISIBLE_DEVICES": self._gpus[index],
                "TALWEG_DEVICE": "cuda",
                "TALWEG_QUEUES": f"{DEFAULT_QUEUE},{CUDA_QUEUE}",
                "TALWEG_WORKER_NAME": f"gpu{index}",
            }
        else:
            env |= {
                "TALWEG_DEVICE": "cpu",
                "TALWEG_QUEUES": DEFAULT_QUEUE,
                "TALWEG_WORKER_NAME": f"cpu{index}",
            }
        return Service(
            name=name,
            command=(*_PYTHON, "talweg.client.cli", "worker"),
            env=env,
            is_ready=lambda pid: ready_file.exists(),
            description=f"GPU {self._gpus[index]}" if self._gpus else "CPU",
            stop_seconds=15.0,
        )

    def _tracking(self) -> Service:
        port = self._ports.chosen[TRACKING]
        return Service(
            name=TRACKING,
            command=(
                *(*_PYTHON, "talweg.deploy.services._mlflow"),
                *(str(self._folder.tracking_database), str(self._folder.tracking_token)),
                *("--host", HOST, "--port", str(port), "--workers", "1"),
                *("--artifacts-destination", self._folder.tracking_artifacts.as_uri()),
            ),
            env={"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            is_ready=lambda pid: _listens(pid, port) and _is_healthy(port),
            description="MLflow",
            # Its start takes seconds of both cores; the stack should be ready before.
            is_essential=False,
        )


def _listens(pid: int, port: int) -> bool:
    """Return whether a process listens on a port.

    Another program could listen there and answer correctly.
    """
    try:
        connections = psutil.Process(pid).net_connections(kind="tcp")
    except psutil.Error:
        # The process has just ended.
        return False
    return any(c.status == psutil.CONN_LISTEN and c.laddr.port == port for c in connections)


def _is_healthy(port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=1)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
