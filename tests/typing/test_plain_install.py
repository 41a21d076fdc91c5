"""A project of a user's, with the plain install, passes strict type checkers."""

import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PROJECT = Path(__file__).parent / "project"
# Of typeshed, which pyright brings along: without them mypy finds no misspelt field of a message.
STUBS = ("types-protobuf",)


def needed_by(name: str) -> set[str]:
    """Return the distributions that a plain install of one brings along."""
    needed: set[str] = set()
    waiting = [name]
    while waiting:
        for text in metadata.requires(waiting.pop()) or ():
            requirement = Requirement(text)
            is_plain = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            if is_plain and requirement.name not in needed:
                needed.add(requirement.name)
                waiting.append(requirement.name)
    return needed


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with the wheel, and what the client needs, alone."""
    folder = tmp_path_factory.mktemp("plain")
    build = ("hatchling", "build", "--target", "wheel", "--directory", str(folder))
    subprocess.run([sys.executable, "-m", *build], cwd=ROOT, check=True, capture_output=True)
    venv.create(folder / "venv", symlinks=True)
    [packages] = (folder / "venv").glob("lib/python*/site-packages")
    [wheel] = folder.glob("talweg-*.whl")
    zipfile.ZipFile(wheel).extractall(packages)
    for name in needed_by("talweg").union(STUBS):
        distribution = metadata.distribution(name)
        for top in {file.parts[0] for file in distribution.files or () if file.parts[0] != ".."}:
            target = packages / top
            if not target.exists():
                target.symlink_to(str(distribution.locate_file(top)))
    return folder / "venv/bin/python"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project, outside this repository and its settings."""
    return Path(shutil.copytree(PROJECT, tmp_path / "project"))


def run(project: Path, *command: str) -> subprocess.CompletedProcess[str]:
    # Neither looks for packages where this process found its own.
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=project, env=environ, capture_output=True, text=True
    )


def checked(checker: str, project: Path, python: Path) -> subprocess.CompletedProcess[str]:
    if checker == "mypy":
        return run(
            project,
            "mypy",
            "--config-file",
            "pyproject.toml",
            "--python-executable",
            str(python),
            ".",
        )
    # Not the settings of a folder above.
    settings = ("--project", "pyproject.toml")
    return run(project, "basedpyright", *settings, "--pythonpath", str(python))


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_the_public_surface_is_typed(checker: str, project: Path, python: Path) -> None:
    # Mistakes are found, since nothing is Any by accident, and where there is none nothing is.
    (project / "wrong.py").write_text(
        "from talweg.client import AsyncClient, Client, Job\n"
        "async def unawaited(client: AsyncClient) -> None:\n"
        "    client.submit('job.yaml').name\n"
        "def misspelt(job: Job) -> None:\n"
        "    job.message.progress.stepp\n"
        "def mistyped(client: Client) -> None:\n"
        "    client.jobs(limit='5')\n"
    )
    done = checked(checker, project, python)
    assert done.returncode == 1, done.stdout + done.stderr
    found = re.findall(r"(\w+\.py):(\d+):(?:\d+)?.* (?:error|warning):? ", done.stdout)
    assert set(found) == {("wrong.py", line) for line in "357"}, done.stdout
