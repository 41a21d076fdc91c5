"""Plug-ins for tests: the example package as pip installs it, and packages of a few lines."""

import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[1] / "client/examples/plugin"
EXAMPLE_MODULE = "talweg_plugin_example"


def install_example(folder: Path) -> None:
    """Install the example into a folder."""
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
            *("--no-index", "--no-deps", "--no-build-isolation", "--no-compile"),
            *("--target", str(folder), str(EXAMPLE)),
        ],
        check=True,
        timeout=720,
    )


def write_package(folder: Path, module: str, code: str, entry_points: dict[str, str]) -> None:
    """Write a package of one module, as if pip had installed it.

    Args:
        folder: Where it is written; to be put on the path.
        module: The module's name, and the package's.
        code: What stands in the module.
        entry_points: Names of what the module holds, by group and name: `talweg.models:gated`.
    """
    info = folder / f"{module}-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1\n")
    groups: dict[str, list[str]] = {}
    for place, attribute in entry_points.items():
        group, _, name = place.partition(":")
        groups.setdefault(group, []).append(f"{name} = {module}:{attribute}")
    (info / "entry_points.txt").write_text(
        "".join(f"[{group}]\n" + "\n".join(lines) + "\n" for group, lines in groups.items())
    )
    (folder / f"{module}.py").write_text(code + "\n")
