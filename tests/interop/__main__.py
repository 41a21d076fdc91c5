"""Installs clients of others and runs the tests that call a server with them: `make interop`."""

import os
import re
import shutil
import subprocess
import sys

from tests.interop.tools import FOLDER, GRPCURL_SOURCES, HERE, NODE_MODULES, REQUIRED, run

_OLDEST_NODE = 18
# What npm installs by.
_FILES = ("package.json", "package-lock.json", ".npmrc")


def main() -> int:
    """Install, run, and return the exit status."""
    problem = _node_problem() or _install()
    if problem:
        print(problem, file=sys.stderr)
        return 1
    print(f"node {run(['node', '--version']).stdout.strip()}")
    print(f"buf {run(['buf', '--version']).stdout.strip()}")
    if shutil.which("grpcurl"):
        version = run(["grpcurl", "--version"])
        print((version.stdout + version.stderr).strip())
    else:
        print(f"grpcurl is not on PATH, and its tests are skipped. {GRPCURL_SOURCES}.")
    # In a process of its own, which sees what is installed now.
    tests = [sys.executable, "-m", "pytest", "-q", "-rs", str(HERE)]
    return subprocess.run(tests, env={**os.environ, REQUIRED: "1"}).returncode


def _node_problem() -> str:
    """Say what is missing to install anything; empty if nothing is."""
    where = "Debian and Ubuntu: apt-get install nodejs npm; other systems: https://nodejs.org"
    wanted = f"`make interop` needs Node {_OLDEST_NODE} or newer with npm"
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            return f"{wanted}, but there is no {program} on PATH. {where}"
    version = subprocess.run(["node", "--version"], capture_output=True, text=True).stdout.strip()
    number = re.match(r"v(\d+)\.", version)
    if number is None or int(number[1]) < _OLDEST_NODE:
        return f"{wanted}, but `node --version` says {version or 'nothing'}. {where}"
    return ""


def _install() -> str:
    """Install the pinned packages unless they are; say what failed, or nothing."""
    FOLDER.mkdir(exist_ok=True)
    stamp = FOLDER / "installed"
    wanted = "".join((HERE / name).read_text() for name in _FILES)
    if stamp.exists() and stamp.read_text() == wanted and NODE_MODULES.is_dir():
        return ""
    for name in _FILES:
        shutil.copyfile(HERE / name, FOLDER / name)
    print(f"Installing the packages of npm into {os.path.relpath(FOLDER)}")
    done = subprocess.run(["npm", "ci"], cwd=FOLDER, capture_output=True, text=True)
    if done.returncode:
        return f"{done.stdout}{done.stderr}\n`npm ci` failed in {FOLDER}: see above"
    stamp.write_text(wanted)
    return ""


if __name__ == "__main__":
    sys.exit(main())
