"""Write constraints.txt: versions and hashes of everything that talweg[dev] needs.

Run it in an environment with the wanted versions of talweg[dev]:

    python deploy/constraints.py            # write constraints.txt
    python deploy/constraints.py --check    # exit 1 if a requirement is not pinned, or has no hash

What this environment holds decides the versions. uv finds what other platforms and newer Pythons
need besides, such as the CUDA libraries of torch, and the package index tells the SHA-256 of every
wheel.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.tags import Tag
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from requirements import ROOT
from requirements import pins as written_pins

FILE = ROOT / "constraints.txt"
# Builds of pinned releases that PyPI does not have: what `sha256sum` prints of their wheels.
OTHER_BUILDS = ROOT / "deploy/other_builds.sha256"
INDEX = "https://pypi.org/simple"
HEADER = """\
# The versions that Talweg is tested with, for every extra, and the SHA-256 of each wheel that pip
# may choose. Written by deploy/constraints.py; deploy/requirements.py says how to install by them.
"""
# What an install needs besides the requirements: the build backend, and the installer, which is
# older than wanted in most fresh environments and so is pinned by hand.
BUILD = ("hatchling", "editables")
INSTALLER = {"pip": "26.3"}
# The oldest Python that Talweg takes, as the tag of a wheel says it.
OLDEST = 11
# 64-bit machines: the others have no wheels of torch.
_MACHINES = ("any", "x86_64", "amd64", "aarch64", "arm64", "universal2")


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


def every_platform(installed: Mapping[str, str], index: str) -> dict[str, str]:
    """Find what all platforms and versions of Python need.

    Args:
        installed: Version by name of what is installed here, which holds everywhere.
        index: Address of a package index.

    Returns:
        Version by canonical name: the one that the file pins today, where nothing else is wanted.

    Raises:
        subprocess.CalledProcessError: uv found no versions that fit, or is not installed.
    """
    with tempfile.TemporaryDirectory() as folder:
        wanted, found = Path(folder, "wanted"), Path(folder, "found")
        wanted.write_text("".join(f"{name}=={version}\n" for name, version in installed.items()))
        if FILE.exists():
            found.write_text(
                "".join(f"{name}=={pin[0]}\n" for name, pin in written_pins().items())
            )
        subprocess.run(
            [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-config", "--universal",
             "--python-version", f"3.{OLDEST}", "--default-index", index, "--only-binary", ":all:",
             "--no-annotate", "--no-header", "--extra", "dev", "--constraint", str(wanted),
             "--output-file", str(found), str(ROOT / "pyproject.toml")],
            check=True,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        lines = found.read_text().splitlines()
    return dict(line.partition(" ;")[0].split("==") for line in lines)


def hashes_of(name: str, version: str, index: str) -> frozenset[str]:
    """Ask the index for the wheels of a release.

    Args:
        name: Canonical name of a package.
        version: A version of it.
        index: Address of a package index that answers in JSON.

    Returns:
        The SHA-256 of each wheel that fits a Python and a machine that Talweg runs on.

    Raises:
        OSError: The index does not answer.
        ValueError: It has no such wheel, or one without SHA-256.
    """
    request = urllib.request.Request(
        f"{index}/{name}/", headers={"Accept": "application/vnd.pypi.simple.v1+json"}
    )
    with urllib.request.urlopen(request, timeout=120) as response:
        files = json.load(response)["files"]
    hashes = {
        file["hashes"].get("sha256", "") for file in files if _fits(file["filename"], version)
    }
    if not hashes or "" in hashes:
        raise ValueError(f"{index}/{name}/ has no wheel of {version} with a SHA-256 that fits")
    return frozenset(hashes)


def _fits(filename: str, version: str) -> bool:
    """Return whether a file is a wheel of a version that pip may choose."""
    try:
        _, of_file, _, tags = parse_wheel_filename(filename)
    except InvalidWheelFilename:
        return False
    return of_file.public == Version(version).public and any(_runs(tag) for tag in tags)


def _runs(tag: Tag) -> bool:
    python = re.fullmatch(r"cp3(\d+)", tag.interpreter)
    is_new_enough = python is not None and (int(python[1]) >= OLDEST or tag.abi == "abi3")
    return (is_new_enough or tag.interpreter.startswith("py3")) and tag.platform.endswith(
        _MACHINES
    )


def hashes_of_other_builds(pins: Mapping[str, str]) -> dict[str, set[str]]:
    """Read the wheels of builds that the index does not have.

    Args:
        pins: Version by name.

    Returns:
        Their SHA-256 by name.

    Raises:
        ValueError: One is of another version than the pinned one.
    """
    hashes: dict[str, set[str]] = {}
    for line in OTHER_BUILDS.read_text(encoding="utf-8").splitlines():
        digest, filename = line.split()
        name = parse_wheel_filename(filename)[0]
        if not _fits(filename, pins[name]):
            raise ValueError(
                f"{OTHER_BUILDS} names {filename}, but {name} is pinned at {pins[name]}: write "
                "there what sha256sum prints of the wheels of that version"
            )
        hashes.setdefault(name, set()).add(digest)
    return hashes


def write(installed: Mapping[str, str], index: str) -> None:
    """Write the file.

    Args:
        installed: Version by name of what is installed here.
        index: Address of a package index.
    """
    pins = dict(sorted((every_platform(installed, index) | dict(installed)).items()))
    others = hashes_of_other_builds(pins)
    with ThreadPoolExecutor(8) as threads:
        found = threads.map(lambda pin: hashes_of(pin[0], pin[1], index), pins.items())
        lines = [
            " \\\n    ".join(
                [f"{name}=={version}"]
                + [f"--hash=sha256:{each}" for each in sorted(hashes | others.get(name, set()))]
            )
            for (name, version), hashes in zip(pins.items(), found, strict=True)
        ]
    FILE.write_text(HEADER + "".join(f"{line}\n" for line in lines))


def check(installed: Mapping[str, str]) -> int:
    """Say which requirement has no pin, and which pin no hash.

    Args:
        installed: Version by name of what is installed here.

    Returns:
        The exit status.
    """
    pins = written_pins()
    missing = sorted(installed.keys() - pins.keys())
    for name in missing:
        print(f"constraints.txt does not pin {name}, which talweg[dev] needs", file=sys.stderr)
    versions = {name: version for name, (version, _) in pins.items()}
    bare = [name for name, (_, hashes) in pins.items() if not hashes]
    bare += [
        name for name, others in hashes_of_other_builds(versions).items() if others - pins[name][1]
    ]
    for name in bare:
        print(f"constraints.txt lacks hashes of {name}: write it again", file=sys.stderr)
    return 1 if missing or bare else 0


def main() -> int:
    """Write or check the file.

    Returns:
        The exit status: 1 where --check found a difference.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    parser.add_argument(
        "--index", default=INDEX, help="package index to ask (default %(default)s)"
    )
    arguments = parser.parse_args()
    installed = dict(sorted((closure(("talweg[dev]", *BUILD)) | INSTALLER).items()))
    if arguments.check:
        return check(installed)
    write(installed, arguments.index)
    return 0


if __name__ == "__main__":
    sys.exit(main())
