"""What a job in the sandbox may take, and what it is told where that is not enough."""

from dataclasses import asdict, dataclass
from typing import Any

from talweg.v1.jobs_pb2 import Job, Outcome
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.settings import Settings
from talweg.worker.training import Result

OPEN_FILES = 4096
PROCESSES = 256
"""Processes of a job at a time, those of its ranks among them."""
_GIB = 2**30
# Threads count as well, of which each rank has a dozen.
_TASKS_A_PROCESS = 16
# The machine's own need must not kill the job without a word.
_SHARE_OF_FREE = 0.9


@dataclass(frozen=True)
class Limits:
    """Of one job."""

    memory_bytes: int
    """Memory of all its processes together."""
    disk_bytes: int
    """What it may write."""
    processes: int = PROCESSES
    """How many it may have at a time."""
    open_files: int = OPEN_FILES
    """How many each of them may have open."""

    @classmethod
    def of(cls, spec: JobSpec, settings: Settings, free_bytes: int | None) -> "Limits":
        """Return the limits of a job.

        Args:
            spec: Filled.
            settings: The worker's.
            free_bytes: The memory that is free now; None where nobody knows.
        """
        memory = settings.sandbox_memory_bytes or int(_SHARE_OF_FREE * (free_bytes or 0))
        disk = settings.sandbox_disk_bytes
        if spec.resources.HasField("disk_gb"):
            disk = int(spec.resources.disk_gb * _GIB)
        return cls(memory_bytes=memory, disk_bytes=disk)

    @property
    def tasks(self) -> int:
        """Processes with their threads, as the kernel counts them."""
        return self.processes * _TASKS_A_PROCESS

    def to_json(self) -> dict[str, Any]:
        """Return them as JSON values."""
        return asdict(self)


def memory_reached(limits: Limits, used: int) -> Result:
    """Return how a job ends whose processes take more memory than they may."""
    return _failed(
        Outcome.OUT_OF_MEMORY,
        f"The memory limit of {_gib(limits.memory_bytes)} was reached: the job's processes took "
        f"{_gib(used)}. {memory_hint(limits)}",
    )


def memory_hint(limits: Limits) -> str:
    """Say where the limit on memory comes from."""
    return (
        f"A job with plug-ins may take {_gib(limits.memory_bytes)} here, what was free as it "
        "began or what TALWEG_SANDBOX_MEMORY_BYTES of the worker allows: lower "
        "training.batch_size, or use a smaller model or data set"
    )


def disk_reached(limits: Limits, used: int | None = None) -> Result:
    """Return how a job ends that writes more than it may."""
    wrote = "a file of it grew beyond" if used is None else f"it wrote {_gib(used)}, more than"
    return _failed(
        Outcome.USER_SPEC,
        f"The disk limit of {_gib(limits.disk_bytes)} was reached: {wrote} that. Set "
        "resources.disk_gb to allow more, or have the plug-in write less",
    )


def processes_reached(limits: Limits, count: int) -> Result:
    """Return how a job ends that starts more processes than it may."""
    return _failed(
        Outcome.USER_SPEC,
        f"The limit of {limits.processes} processes was reached: the job had {count}. A plug-in "
        "must wait for the processes that it starts, or start fewer",
    )


def _failed(cause: Outcome.Cause.ValueType, message: str) -> Result:
    return Result(Job.FAILED, cause, message)


def _gib(num_bytes: int) -> str:
    return f"{num_bytes / _GIB:.3g} GiB"
