"""Print what pip is to install by hashes alone, for `pip install --requirement`.

pip refuses a folder among what it checks by hashes. So what an extra of Talweg requires is
installed first, and Talweg's folder after that, alone. Only a recent pip takes hashes from a file
of constraints, so it comes before:

    python deploy/requirements.py --pin pip > installer.txt
    pip install --require-hashes --requirement installer.txt
    python deploy/requirements.py all > requirements.txt
    pip install --require-hashes --constraint constraints.txt --requirement requirements.txt
    pip install --no-deps --no-build-isolation --no-index .

Where the indexes that pip asks offer a build of deploy/other_builds.sha256, it is named: else pip
would take the file whose hash the index tells, such as the CUDA build of torch, gigabytes with its
libraries.

It needs the standard library and pip alone, since it runs before anything else is installed.
"""

import argparse
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# An extra that is made of others, such as talweg[server,worker].
_OWN = re.compile(r"talweg\[([a-z0-9,]+)\]")


def requirements_of(extras: list[str]) -> list[str]:
    """List what the plain install and extras require, and what builds them.

    Args:
        extras: Names of extras, such as ``["server", "s3"]``.

    Returns:
        Requirements as they stand in pyproject.toml, in alphabetical order.

    Raises:
        ValueError: There is no such extra.
    """
    data = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    known: dict[str, list[str]] = data["project"]["optional-dependencies"]
    every = [*data["build-system"]["requires"], *data["project"]["dependencies"]]
    for extra in extras:
        every += _expand(extra, known)
    return sorted(set(every))


def _expand(extra: str, known: dict[str, list[str]]) -> Iterator[str]:
    if extra not in known:
        raise ValueError(f"talweg has no extra {extra!r}, but {', '.join(sorted(known))}")
    for requirement in known[extra]:
        if own := _OWN.fullmatch(requirement):
            for name in own[1].split(","):
                yield from _expand(name, known)
        else:
            yield requirement


def with_other_builds(requirements: list[str]) -> list[str]:
    """Name the builds of deploy/other_builds.sha256 that pip is offered here.

    Args:
        requirements: Requirements, of which some pin a version that has other builds.

    Returns:
        The same, with the version of the build in place of the release's where one is offered.
    """
    files = (ROOT / "deploy/other_builds.sha256").read_text(encoding="utf-8").split()[1::2]
    builds = {tuple(file.split("-")[:2]) for file in files}
    by_pin = {f"{name}=={build.partition('+')[0]}": (name, build) for name, build in builds}
    return [
        f"{by_pin[each][0]}=={by_pin[each][1]}"
        if each in by_pin and _is_offered(*by_pin[each])
        else each
        for each in requirements
    ]


def _is_offered(name: str, version: str) -> bool:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "index", "versions", "--json", name],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    return not done.returncode and version in json.loads(done.stdout)["versions"]


def pins() -> dict[str, tuple[str, frozenset[str]]]:
    """Read constraints.txt.

    Returns:
        Version and SHA-256 of its wheels, by canonical name.
    """
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8").replace("\\\n", " ")
    pins = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            pin, *hashes = line.split()
            name, version = pin.split("==")
            pins[name] = (
                version,
                frozenset(each.removeprefix("--hash=sha256:") for each in hashes),
            )
    return pins


def pin_of(name: str) -> str:
    """Write the pin of a package with its hashes, as pip reads it.

    Args:
        name: Canonical name of the package.

    Raises:
        ValueError: It has no pin.
    """
    if name not in pins():
        raise ValueError(f"constraints.txt does not pin {name}: run deploy/constraints.py")
    version, hashes = pins()[name]
    return " ".join([f"{name}=={version}", *(f"--hash=sha256:{each}" for each in sorted(hashes))])


def main() -> int:
    """Print the requirements of extras, or pins.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="+", help="extras of talweg, such as server,s3")
    parser.add_argument(
        "--pin", action="store_true", help="the names are packages: print their pins"
    )
    arguments = parser.parse_args()
    names = [name for text in arguments.names for name in text.split(",") if name]
    try:
        if arguments.pin:
            lines = [pin_of(name) for name in names]
        else:
            lines = with_other_builds(requirements_of(names))
    except ValueError as exc:
        print(exc, file=sys.stderr)
        return 2
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
