"""Find the GPUs for workers on this machine, without torch."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from importlib import metadata
from itertools import takewhile
from pathlib import Path

_PROC = Path("/proc/driver/nvidia/gpus")
_LISTED = re.compile(r"^(?P<kind>GPU|\s+MIG).*\(UUID: (?P<uuid>[^)]+)\)", re.MULTILINE)


def visible_gpus(env: Mapping[str, str] = os.environ) -> list[str]:
    """Find the GPUs that get a worker each.

    Args:
        env: The environment; CUDA_VISIBLE_DEVICES restricts the choice.

    Returns:
        A value of CUDA_VISIBLE_DEVICES per worker; empty if torch is a CPU build.
    """
    if not _torch_has_cuda():
        return []
    allowed = env.get("CUDA_VISIBLE_DEVICES")
    if allowed is not None:
        # As CUDA reads it: the first entry that names no device ends the list.
        names = takewhile(lambda name: name not in ("", "-1"), map(str.strip, allowed.split(",")))
        return list(names) if _present() else []
    return _present()


def parse_listing(text: str) -> list[str]:
    """Parse the output of `nvidia-smi -L`.

    Args:
        text: Its output.

    Returns:
        UUIDs; a GPU that is divided by MIG is replaced by its instances.
    """
    devices: list[str] = []
    whole = False
    for match in _LISTED.finditer(text):
        is_part = match["kind"] != "GPU"
        if is_part and whole:
            devices.pop()
        devices.append(match["uuid"])
        whole = not is_part
    return devices


def _present() -> list[str]:
    tool = shutil.which("nvidia-smi")
    if tool is not None:
        try:
            done = subprocess.run([tool, "-L"], capture_output=True, text=True, timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            pass
        else:
            if done.returncode == 0:
                return parse_listing(done.stdout)
    return [str(index) for index, _ in enumerate(_PROC.iterdir())] if _PROC.is_dir() else []


def _torch_has_cuda() -> bool:
    try:
        version = metadata.version("torch")
    except metadata.PackageNotFoundError:
        return False
    return not version.endswith("+cpu")
