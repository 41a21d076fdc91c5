"""All plug-ins of this environment with what they say of themselves.

To know that, they must be loaded, which runs their code. That is done in a process of its own, so
that one that crashes, ends its process or never comes back costs the worker nothing. It has none
of the worker's secrets, and sees no files but those of Python and its packages.
"""

import json
import os
import subprocess
import tempfile
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from google.protobuf.json_format import MessageToDict, ParseDict, ParseError

from talweg.spec.plugins import KINDS, PluginKind
from talweg.v1.plugins_pb2 import PluginDeclaration
from talweg.worker.confinement.apart import live_apart, run_apart
from talweg.worker.confinement.confining import MODE, READ, confine_unless_off
from talweg.worker.confinement.environment import cleaned
from talweg.worker.parents import die_with_parent
from talweg.worker.plugins.describing import described, located
from talweg.worker.settings import Settings

_LONGEST_LOAD = 120.0
_MOST_SAID = 500

_Place = tuple[PluginKind, EntryPoint]


def names() -> list[PluginDeclaration]:
    """Return all plug-ins by kind and name, without what only their code says of them."""
    return [located(kind, entry) for kind, entry in _places()]


def installed(*, longest_load: float = _LONGEST_LOAD) -> list[PluginDeclaration]:
    """Return all plug-ins, by kind and name; with each that cannot be used, why.

    Args:
        longest_load: Seconds after which those are given up that are not loaded.
    """
    waiting = _places()
    declarations: list[PluginDeclaration] = []
    while waiting:
        told, problem = _load(len(declarations), longest_load)
        declarations += told[: len(waiting)]
        waiting = waiting[len(told) :]
        if waiting:
            # The process has ended while it loaded the next one: the others get another.
            failed = located(*waiting.pop(0))
            failed.problem = problem
            declarations.append(failed)
    return declarations


def main(parent: int, first: int) -> None:
    """Load the plug-ins from one on, and write a line of JSON for each to the standard output.

    Args:
        parent: The process that reads them.
        first: The place of the first.
    """
    die_with_parent(parent)
    live_apart()
    confine_unless_off(writable=[Path.home()])
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    # What plug-ins print is none of it.
    os.dup2(2, 1)
    for kind, entry in _places()[first:]:
        out.write(json.dumps(MessageToDict(_declaration(kind, entry))) + "\n")
        out.flush()


def _places() -> list[_Place]:
    """Return the plug-ins in an order that is the same in every process."""
    return [
        (kind, entry)
        for kind in KINDS
        for entry in sorted(
            {(each.name, each.value): each for each in entry_points(group=kind.group)}.values(),
            key=lambda entry: (entry.name, entry.value),
        )
    ]


def _declaration(kind: PluginKind, entry: EntryPoint) -> PluginDeclaration:
    try:
        return described(kind, entry, entry.load())
    except Exception as exc:
        failed = located(kind, entry)
        failed.problem = f"{type(exc).__name__}: {exc}"[:_MOST_SAID]
        return failed


def _load(first: int, timeout: float) -> tuple[list[PluginDeclaration], str]:
    """Load plug-ins in another process; return those that were, and why it went no further."""
    arguments = ["-m", "talweg.worker.plugins", str(os.getpid()), str(first)]
    passed = Settings.from_env().sandbox_env
    try:
        with tempfile.TemporaryDirectory(prefix="talweg-plugins-") as home:
            environment = cleaned((MODE, READ, *passed)) | {"HOME": home, "TMPDIR": home}
            done = run_apart(arguments, env=environment, seconds=timeout, shows_errors=True)
        output, problem = done.stdout, f"it ended its process with status {done.returncode}"
        if done.returncode < 0:
            problem = f"its process was killed by signal {-done.returncode}"
    except subprocess.TimeoutExpired as exc:
        output, problem = exc.stdout or b"", f"it was not loaded within {timeout:g} s"
    declarations = []
    try:
        # A line that was cut short is none.
        for line in output.split(b"\n")[:-1]:
            declarations.append(ParseDict(json.loads(line), PluginDeclaration()))
    except (ValueError, ParseError) as exc:
        problem = f"its process said what is no declaration: {exc}"[:_MOST_SAID]
    return declarations, problem
