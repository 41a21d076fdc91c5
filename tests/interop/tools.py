"""The programs of others that call a server here, and how to get them."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PROTO = ROOT / "proto"
DESCRIPTORS = PROTO / "talweg/v1/descriptors.binpb"
FOLDER = Path(sys.prefix) / "interop"
"""Where `make interop` installs the packages of npm: in .venv, which `make clean` removes."""
NODE_MODULES = FOLDER / "node_modules"
REQUIRED = "TALWEG_INTEROP"
"""Set by `make interop`, which has installed what npm has: without it, tests fail."""

GRPCURL_SOURCES = (
    "https://github.com/fullstorydev/grpcurl/releases has binaries; or `brew install grpcurl`, or "
    "`go install github.com/fullstorydev/grpcurl/cmd/grpcurl@latest`"
)

_has_npm = bool(shutil.which("node")) and NODE_MODULES.is_dir()
needs_npm = pytest.mark.skipif(
    not _has_npm and REQUIRED not in os.environ,
    reason="needs Node, and what `make interop` installs",
)
needs_grpcurl = pytest.mark.skipif(
    shutil.which("grpcurl") is None, reason=f"needs grpcurl on PATH: {GRPCURL_SOURCES}"
)


def run(
    command: Sequence[object], *, status: int = 0, timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run a program from the repository's root, with the packages of npm within its reach.

    Args:
        command: The program and its arguments.
        status: The exit status that it must end with.
        timeout: Seconds.
    """
    path = os.pathsep.join([str(NODE_MODULES / ".bin"), os.environ.get("PATH", "")])
    done = subprocess.run(
        [str(word) for word in command],
        cwd=ROOT,
        env={**os.environ, "PATH": path, "NODE_PATH": str(NODE_MODULES)},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done
