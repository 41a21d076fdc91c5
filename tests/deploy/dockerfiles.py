"""Reads the Dockerfiles and does what they say, in a folder and a virtual environment."""

import importlib.util
import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from functools import cached_property
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[2]


def link_packages(requirements: tuple[str, ...], venv: Path) -> None:
    """Link what requirements need, and nothing else, from this environment into another one."""
    closure = runpy.run_path(str(ROOT / "deploy/constraints.py"))["closure"]
    (target,) = venv.glob("lib/python*/site-packages")
    for name in closure(requirements):
        distribution = metadata.distribution(name)
        for file in distribution.files or ():
            if ".." not in file.parts:
                _link(Path(str(file.locate())), target / file)
        for script in distribution.entry_points.select(group="console_scripts"):
            path = venv / "bin" / script.name
            path.write_text(
                f"#!{venv}/bin/python\nimport sys\nfrom {script.module} import {script.attr}\n"
                f"sys.exit({script.attr}())\n"
            )
            path.chmod(0o755)


def _link(source: Path, link: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.exists():
        link.symlink_to(source)
    compiled = Path(importlib.util.cache_from_source(str(source)))
    if source.suffix == ".py" and compiled.exists():
        _link(compiled, Path(importlib.util.cache_from_source(str(link))))


@dataclass(frozen=True)
class Dockerfile:
    """A Dockerfile, as far as ours go."""

    path: Path

    @cached_property
    def instructions(self) -> list[tuple[str, str]]:
        """Instructions and their arguments, in order."""
        text = re.sub(r"^#.*\n", "", self.path.read_text(), flags=re.MULTILINE)
        lines = text.replace("\\\n", " ").splitlines()
        return [(line.split()[0], line.split(maxsplit=1)[1]) for line in lines if line.strip()]

    def all(self, instruction: str) -> list[str]:
        return [text for name, text in self.instructions if name == instruction]

    def one(self, instruction: str) -> str:
        (text,) = self.all(instruction)
        return text

    def has(self, instruction: str) -> bool:
        return bool(self.all(instruction))

    @property
    def env(self) -> dict[str, str]:
        words = [word for text in self.all("ENV") for word in shlex.split(text)]
        return dict(word.split("=", 1) for word in words)

    @property
    def args(self) -> dict[str, str]:
        """Build arguments that have a default."""
        return dict(text.split("=", 1) for text in self.all("ARG") if "=" in text)

    @property
    def command(self) -> list[str]:
        command: list[str] = json.loads(self.one("CMD"))
        return command

    @property
    def health_command(self) -> list[str]:
        command: list[str] = json.loads(self.one("HEALTHCHECK").partition("CMD ")[2])
        return command

    def option(self, name: str) -> str:
        """Return an option of CMD."""
        return self.command[self.command.index(name) + 1]


@dataclass
class Image:
    """A Dockerfile carried out: its files in one folder, its packages in a fresh environment."""

    dockerfile: Dockerfile
    folder: Path
    seeds: tuple[str, ...] = ()
    """Requirements whose pinned packages are linked into the environment beforehand, so that pip
    finds them there and need not unpack gigabytes. What else its lines ask for it installs."""
    env: dict[str, str] = field(default_factory=dict)

    @property
    def app(self) -> Path:
        return self.folder / "app"

    def build(self) -> None:
        """Copy and install as the Dockerfile says.

        Lines that make users and folders outside are left out: they need root.
        """
        venv = self.folder / "venv"
        # pip is linked too: to unpack one takes longer than all the rest of an environment.
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
        link_packages((*self.seeds, "pip"), venv)
        self.app.mkdir(exist_ok=True)
        for instruction, text in self.dockerfile.instructions:
            if instruction == "COPY":
                *sources, target = text.split()
                for source in sources:
                    self._copy(source, target)
            elif instruction == "RUN" and text.startswith(("pip ", "python ")):
                # Arguments are there while an image is built, and not in its containers.
                told = [f"{name}={value}" for name, value in self.dockerfile.args.items()]
                self.run(["env", *told, "sh", "-c", text], check=True, timeout=1440)

    def environment(self) -> dict[str, str]:
        """Return what a process in the container sees, and what installs need here."""
        kept = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
        path = f"{self.folder / 'venv/bin'}:/usr/bin:/bin"
        # Compiling all byte code would take longer than everything else.
        quick = {"PIP_COMPILE": "0", "HOME": str(self.folder), "PATH": path}
        return kept | quick | self.dockerfile.env | self.env

    def run(
        self, command: list[str], *, check: bool = False, timeout: float = 180
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command,
            cwd=self.app,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        if check and done.returncode:
            raise RuntimeError(f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        return done

    def is_healthy(self) -> bool:
        """Return what the HEALTHCHECK line says."""
        return self.run(self.dockerfile.health_command).returncode == 0

    def _copy(self, source: str, target: str) -> None:
        path = ROOT / source
        if path.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(path, self.app / target, ignore=ignored)
        else:
            shutil.copy(path, self.app / target)
