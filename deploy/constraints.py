"""Write constraints.txt: the pinned version of everything that talweg[dev] needs.

Run it in an environment with the wanted versions of talweg[dev]:

    python deploy/constraints.py            # write constraints.txt
    python deploy/constraints.py --check    # exit 1 if a requirement is not pinned
"""

import argparse
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "constraints.txt"
HEADER = """\
# The versions that Talweg is tested with, for every extra. Written by deploy/constraints.py.
#     pip install -c constraints.txt '.[all]'
"""
# What an install needs besides the requirements: the build backend, and the installer, which is
# older than wanted in most fresh environments and so is pinned by hand.
BUILD = ("hatchling", "editables")
INSTALLER = {"pip": "26.3"}
# What redis needs under a Python before 3.11.3: another may write the file.
OLDER_PYTHON = {"async-timeout": "5.0.1"}


def closure(requirements: tuple[str, ...]) -> dict[str, str]:
    """Find what requirements need, directly or not, in this environment.

    Args:
        requirements: Requirements as pip takes them, such as ``talweg[dev]``.

    Returns:
        Installed version by canonical name, in alphabetical order.

    Raises:
        importlib.metadata.PackageNotFoundError: One of them is not installed.
    """
    pins: dict[str, str] = {}
    visited: set[tuple[str, frozenset[str]]] = set()
    waiting = [Requirement(text) for text in requirements]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        key = (name, frozenset(requirement.extras))
        if key in visited:
            continue
        visited.add(key)
        distribution = metadata.distribution(name)
        # A local label such as +cpu says where a build came from, not which version it is.
        pins[name] = distribution.version.partition("+")[0]
        waiting.extend(_needs(distribution, requirement.extras))
    pins.pop("talweg", None)
    return dict(sorted(pins.items()))


def _needs(distribution: metadata.Distribution, extras: set[str]) -> Iterator[Requirement]:
    for text in distribution.requires or ():
        requirement = Requirement(text)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in {"", *extras}):
            yield requirement


def main() -> int:
    """Write or check the file.

    Returns:
        The exit status: 1 where --check found a difference.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    check = parser.parse_args().check
    pins = dict(sorted((closure(("talweg[dev]", *BUILD)) | INSTALLER | OLDER_PYTHON).items()))
    if not check:
        lines = [f"{name}=={version}\n" for name, version in pins.items()]
        FILE.write_text(HEADER + "".join(lines))
        return 0
    written = dict(
        line.split("==") for line in FILE.read_text().splitlines() if not line.startswith("#")
    )
    missing = sorted(pins.keys() - written.keys())
    for name in missing:
        print(f"constraints.txt does not pin {name}, which talweg[dev] needs", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
