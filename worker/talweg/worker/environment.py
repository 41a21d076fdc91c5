"""What a worker runs on: versions and device, for those who compare runs."""

import platform
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import torch

from talweg.spec.semantics.pretrained import EXTRA
from talweg.v1.jobs_pb2 import Environment

_EXTRAS = {EXTRA: "transformers"}
_CPU_INFO = Path("/proc/cpuinfo")


def environment(device: str) -> Mapping[str, str]:
    """Return the versions that a job runs with, and the name of its device.

    Args:
        device: cpu or cuda.
    """
    facts = dict(_versions())
    if device == "cuda":
        facts["cuda"] = torch.version.cuda or ""
    facts["device"] = _gpu() if device == "cuda" else _cpu()
    return {name: text for name, text in facts.items() if text}


def environment_message(device: str) -> Environment:
    """Return the same for the server, which tells jobs apart by it.

    Args:
        device: cpu or cuda.
    """
    facts = environment(device)
    return Environment(
        talweg=facts["version"],
        torch=facts["torch"],
        python=facts["python"],
        device=device,
        device_name=facts.get("device", ""),
        cpu_capability=_cpu_capability(),
    )


def common_environment(device: str) -> Environment:
    """Return what all jobs of a worker run on; asks no GPU, which only processes of jobs use.

    Args:
        device: cpu or cuda.
    """
    versions = _versions()
    return Environment(
        talweg=versions["version"],
        torch=versions["torch"],
        python=versions["python"],
        device=device,
        cpu_capability=_cpu_capability(),
    )


def _cpu_capability() -> str:
    return str(torch.backends.cpu.get_cpu_capability())


def extras() -> list[str]:
    """Return the optional extras of the package that are installed here, which jobs may need."""
    return [extra for extra, module in _EXTRAS.items() if find_spec(module) is not None]


@cache
def _versions() -> Mapping[str, str]:
    return {
        "version": version("talweg"),
        "torch": str(torch.__version__),
        "python": platform.python_version(),
    }


def _gpu() -> str:
    with suppress(RuntimeError, AssertionError):
        return torch.cuda.get_device_name()
    return "CUDA"


@cache
def _cpu() -> str:
    with suppress(OSError):
        for line in _CPU_INFO.read_text().splitlines():
            name, _, text = line.partition(":")
            if name.strip() == "model name" and text.strip():
                return text.strip()
    return platform.processor() or platform.machine()
