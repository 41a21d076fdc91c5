"""From a plug-in's name to what it makes; whatever goes wrong is the job's fault, and said."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import torch

from talweg.spec.plugins import AnyPlugin, PluginKind, check_parameters, kind_of
from talweg.spec.spelling import nearest
from talweg.worker.errors import UserSpecError
from talweg.worker.plugins.describing import described

_LONGEST_SHOWN = 200


@dataclass(frozen=True)
class InstalledPlugin:
    """A plug-in of this environment."""

    kind: PluginKind
    """What it adds."""
    entry: EntryPoint
    """Where it is."""

    @property
    def name(self) -> str:
        """The entry point's name."""
        return self.entry.name

    @property
    def origin(self) -> dict[str, str]:
        """The package that it comes with, as JSON values: `package` and `version`."""
        dist = self.entry.dist
        return {} if dist is None else {"package": dist.name, "version": dist.version}

    @property
    def label(self) -> str:
        """Its name with its package, for people."""
        origin = self.origin
        package = f" ({origin['package']} {origin['version']})" if origin else ""
        return f"plug-in '{self.name}'{package}"

    def make(self, parameters: str, *context: object) -> Any:
        """Call the plug-in.

        Args:
            parameters: A JSON object; what a job sets.
            context: What plug-ins of its kind take beside them.

        Raises:
            UserSpecError: It cannot be loaded, does not take the parameters, or has failed.
        """
        given: dict[str, Any] = json.loads(parameters)
        with self.blamed("while it was loaded"):
            plugin: Callable[..., Any] = self.entry.load()
            declaration = described(self.kind, self.entry, plugin)
        complete, violations = check_parameters(declaration, given, "plugin.parameters")
        if violations:
            raise UserSpecError(
                f"{self.kind.word} plug-in '{self.name}': {'; '.join(map(str, violations))}"
            )
        text = json.dumps(given, ensure_ascii=False)[:_LONGEST_SHOWN]
        with self.blamed(f"with parameters {text}"):
            return plugin(complete, *context)

    @contextmanager
    def blamed(self, where: str) -> Iterator[None]:
        """Turn errors of the plug-in's code into ones that name it; memory is nobody's fault.

        Args:
            where: What it was doing, behind "failed".

        Raises:
            UserSpecError: The plug-in has raised an error.
        """
        try:
            yield
        except UserSpecError:
            raise
        except Exception as exc:
            memory = isinstance(exc, (MemoryError, torch.OutOfMemoryError))
            if memory or "DefaultCPUAllocator" in str(exc):
                raise
            raise UserSpecError(
                f"plug-in '{self.name}' failed {where}: {type(exc).__name__}: {exc}"
            ) from exc


def find(message: AnyPlugin, *, package: str = "") -> InstalledPlugin:
    """Find the plug-in that a spec names.

    Args:
        message: The spec's.
        package: The package that it came with, where that is known.

    Raises:
        UserSpecError: It is not installed here, or more than once.
    """
    kind, name = kind_of(message), message.name
    entries = {entry.value: entry for entry in entry_points(group=kind.group, name=name)}
    if len(entries) == 1:
        (entry,) = entries.values()
        return InstalledPlugin(kind, entry)
    if entries:
        raise UserSpecError(
            f"plugin.name: '{name}' is installed more than once, as {', '.join(sorted(entries))}"
        )
    known = sorted({entry.name for entry in entry_points(group=kind.group)})
    hint = nearest(name, known) or f"install it: pip install {package or 'PACKAGE'}"
    raise UserSpecError(
        f"plugin.name must be a {kind.word} that is installed on the worker, "
        f"{', '.join(known) or 'none'}, but got '{name}'; {hint}"
    )
