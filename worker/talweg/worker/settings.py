"""The worker's settings, from TALWEG_* environment variables."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from talweg.spec.broker import DEFAULT_QUEUE

DEVICES = ("auto", "cpu", "cuda")
SANDBOX_MODES = ("auto", "require", "off")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}
"""Variables of workers and their processes that keep Hugging Face's libraries off the network."""
_MAX_WAIT_SECONDS = 86_400
# PyTorch takes half of it before it has read a model.
_LEAST_MEMORY = 2**30


@dataclass(frozen=True)
class Settings:
    """What a worker and its delivery process need to know before they start."""

    address: str = "127.0.0.1:7070"
    """TALWEG_ADDRESS: the gRPC server, host:port."""

    broker_url: str = "redis://127.0.0.1:6379/0"
    """TALWEG_BROKER_URL: the Redis that Celery's wake-up messages come from."""

    tracking_uri: str = "http://127.0.0.1:5000"
    """TALWEG_TRACKING_URI: the MLflow server that results go to."""

    public_tracking_uri: str | None = None
    """TALWEG_PUBLIC_TRACKING_URI: where people's browsers find MLflow, for links to its pages, if
    that is not where the worker does."""

    tracking_database: Path | None = None
    """TALWEG_TRACKING_DATABASE: the SQLite file of that MLflow server, where it is on this machine
    and of the same version of MLflow. With TALWEG_TRACKING_ARTIFACTS, results are written beside
    the server, which is faster."""

    tracking_artifacts: Path | None = None
    """TALWEG_TRACKING_ARTIFACTS: the folder that this MLflow server serves its files from."""

    tracking_token_file: Path | None = None
    """TALWEG_TRACKING_TOKEN_FILE: the file with the token that the MLflow server asks for."""

    spool_dir: Path = Path(".talweg/spool")
    """TALWEG_SPOOL_DIR: where results wait for delivery; on a local disk, one a machine."""

    delivery_wait: float = 600.0
    """TALWEG_DELIVERY_WAIT_SECONDS: how long one machine's results of a job that ran on several
    are waited for, once all others are in MLflow, before it is called complete without them."""

    blobs: str = ".talweg/blobs"
    """TALWEG_BLOBS: where checkpoints are kept, and models of images for other jobs' losses: a
    folder or a URL that fsspec knows, such as s3://bucket/folder; all workers of a server must see
    the same."""

    data_cache: Path = Path(".talweg/data")
    """TALWEG_DATA_CACHE: where stored data sets are kept that were fetched from a blob store on
    another machine; on a local disk, one a machine."""

    data_cache_bytes: int = 20 * 2**30
    """TALWEG_DATA_CACHE_BYTES: what they may take; those used the longest time ago go first."""

    predict_memory_bytes: int = 4 * 2**30
    """TALWEG_PREDICT_MEMORY_BYTES: how much memory the process may take that predicts for callers
    without PyTorch."""

    sandbox: str = "auto"
    """TALWEG_SANDBOX: auto, require or off: jobs with plug-ins are kept from secrets, other files
    and the network as far as the system allows it (auto); the worker starts only where it allows
    all of it (require); or they run as all others do (off)."""

    sandbox_memory_bytes: int = 0
    """TALWEG_SANDBOX_MEMORY_BYTES: how much memory the processes of such a job may take together;
    0 for 90% of what is free as it begins."""

    sandbox_disk_bytes: int = 10 * 2**30
    """TALWEG_SANDBOX_DISK_BYTES: how much such a job may write, where its resources.disk_gb does
    not say."""

    sandbox_env: tuple[str, ...] = ()
    """TALWEG_SANDBOX_ENV: names of further variables that such a job gets, joined by commas."""

    sandbox_read: tuple[Path, ...] = ()
    """TALWEG_SANDBOX_READ: files and folders that such a job may read, joined as in PATH."""

    queues: tuple[str, ...] = (DEFAULT_QUEUE,)
    """TALWEG_QUEUES: queues to take jobs from, joined by commas."""

    device: str = "auto"
    """TALWEG_DEVICE: auto, cpu or cuda; auto is CUDA where PyTorch finds it."""

    worker_name: str = "worker"
    """TALWEG_WORKER_NAME: the worker's name in lists and logs; the host's name follows it."""

    ready_file: Path | None = None
    """TALWEG_READY_FILE: a file to write {"pid", "address"} to once the worker waits for jobs."""

    vgg_weights: Path | None = None
    """TALWEG_VGG_WEIGHTS: a safetensors file with VGG16's weights, for the loss `perceptual`."""

    models_dir: Path | None = None
    """TALWEG_MODELS_DIR: a folder of trained models, for the loss `perceptual`."""

    log_level: str = "INFO"
    """TALWEG_LOG_LEVEL: DEBUG, INFO, WARNING or ERROR."""

    def __post_init__(self) -> None:
        """Check what can be checked without touching anything.

        Raises:
            ValueError: A value is not one of those allowed.
        """
        if self.device not in DEVICES:
            raise ValueError(
                f"TALWEG_DEVICE must be one of {', '.join(DEVICES)}, but got {self.device!r}"
            )
        if self.log_level not in LOG_LEVELS:
            raise ValueError(
                f"TALWEG_LOG_LEVEL must be one of {', '.join(LOG_LEVELS)}, "
                f"but got {self.log_level!r}"
            )
        if not 0 <= self.delivery_wait <= _MAX_WAIT_SECONDS:
            raise ValueError(
                f"TALWEG_DELIVERY_WAIT_SECONDS must be >= 0 and <= {_MAX_WAIT_SECONDS}, "
                f"but got {self.delivery_wait:g}"
            )
        if self.data_cache_bytes < 0:
            raise ValueError(
                "TALWEG_DATA_CACHE_BYTES must be a number of bytes, 0 or more, but got "
                f"{self.data_cache_bytes}"
            )
        if self.predict_memory_bytes < _LEAST_MEMORY:
            raise ValueError(
                f"TALWEG_PREDICT_MEMORY_BYTES must be >= {_LEAST_MEMORY}, but got "
                f"{self.predict_memory_bytes}"
            )
        if self.sandbox not in SANDBOX_MODES:
            raise ValueError(
                f"TALWEG_SANDBOX must be one of {', '.join(SANDBOX_MODES)}, "
                f"but got {self.sandbox!r}"
            )
        if self.sandbox_memory_bytes and self.sandbox_memory_bytes < _LEAST_MEMORY:
            raise ValueError(
                f"TALWEG_SANDBOX_MEMORY_BYTES must be 0 or >= {_LEAST_MEMORY}, but got "
                f"{self.sandbox_memory_bytes}"
            )
        if self.sandbox_disk_bytes < 1:
            raise ValueError(
                f"TALWEG_SANDBOX_DISK_BYTES must be >= 1, but got {self.sandbox_disk_bytes}"
            )
        if not self.queues or not all(self.queues):
            raise ValueError(
                "TALWEG_QUEUES must name queues joined by commas, "
                f"but got {','.join(self.queues)!r}"
            )

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> "Settings":
        """Read the settings; a variable that is absent or empty leaves the default.

        Args:
            environ: The variables.

        Raises:
            ValueError: A value is not one of those allowed.
        """
        default, given = cls(), _Variables(environ)
        return cls(
            address=given.text("ADDRESS", default.address),
            broker_url=given.text("BROKER_URL", default.broker_url),
            tracking_uri=given.text("TRACKING_URI", default.tracking_uri).rstrip("/"),
            public_tracking_uri=given.text("PUBLIC_TRACKING_URI", "").rstrip("/") or None,
            tracking_database=given.path("TRACKING_DATABASE"),
            tracking_artifacts=given.path("TRACKING_ARTIFACTS"),
            tracking_token_file=given.path("TRACKING_TOKEN_FILE"),
            spool_dir=Path(given.text("SPOOL_DIR", str(default.spool_dir))).absolute(),
            delivery_wait=given.seconds("DELIVERY_WAIT_SECONDS", default.delivery_wait),
            blobs=_absolute(given.text("BLOBS", default.blobs)),
            data_cache=Path(given.text("DATA_CACHE", str(default.data_cache))).absolute(),
            data_cache_bytes=given.count("DATA_CACHE_BYTES", default.data_cache_bytes),
            predict_memory_bytes=given.count("PREDICT_MEMORY_BYTES", default.predict_memory_bytes),
            sandbox=given.text("SANDBOX", default.sandbox).lower(),
            sandbox_memory_bytes=given.count("SANDBOX_MEMORY_BYTES", default.sandbox_memory_bytes),
            sandbox_disk_bytes=given.count("SANDBOX_DISK_BYTES", default.sandbox_disk_bytes),
            sandbox_env=tuple(filter(None, given.names("SANDBOX_ENV", default.sandbox_env))),
            sandbox_read=given.paths("SANDBOX_READ"),
            queues=given.names("QUEUES", default.queues),
            device=given.text("DEVICE", default.device).lower(),
            worker_name=given.text("WORKER_NAME", default.worker_name),
            ready_file=given.path("READY_FILE"),
            vgg_weights=given.path("VGG_WEIGHTS"),
            models_dir=given.path("MODELS_DIR"),
            log_level=given.text("LOG_LEVEL", default.log_level).upper(),
        )


class _Variables:
    """Reads variables by their names without TALWEG_; one that is empty counts as absent."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def text(self, name: str, otherwise: str) -> str:
        return self._environ.get(f"TALWEG_{name}") or otherwise

    def path(self, name: str) -> Path | None:
        value = self.text(name, "")
        return Path(value) if value else None

    def paths(self, name: str) -> tuple[Path, ...]:
        return tuple(Path(p).absolute() for p in self.text(name, "").split(os.pathsep) if p)

    def names(self, name: str, otherwise: tuple[str, ...]) -> tuple[str, ...]:
        value = self.text(name, "")
        return tuple(each.strip() for each in value.split(",")) if value else otherwise

    def count(self, name: str, otherwise: int) -> int:
        value = self.text(name, str(otherwise))
        try:
            return int(value)
        except ValueError as exc:
            raise ValueError(f"TALWEG_{name} must be a whole number, but got {value!r}") from exc

    def seconds(self, name: str, otherwise: float) -> float:
        value = self.text(name, str(otherwise))
        try:
            return float(value)
        except ValueError as exc:
            raise ValueError(
                f"TALWEG_{name} must be a number of seconds, but got {value!r}"
            ) from exc


def _absolute(place: str) -> str:
    """Return a folder's path from the root; a URL as it is."""
    return place if "://" in place else str(Path(place).absolute())
