"""What a process needs to read so that Python, its packages and the device work."""

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from talweg.spec.plugins import KINDS

# Programs, libraries and settings of the system; nobody's data.
_SYSTEM = (
    *("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/opt", "/etc", "/nix", "/snap"),
    *("/sys", "/proc"),
)
_DEVICES = ("null", "zero", "full", "random", "urandom", "nvidia*", "dri", "kfd", "dxg")


def of_python() -> tuple[Path, ...]:
    """Return the folders of the system, of this Python and of the packages on its path."""
    python = (sys.prefix, sys.base_prefix, sys.exec_prefix, *filter(None, sys.path), *_plugins())
    libraries = filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep))
    places = (*_SYSTEM, *python, *libraries)
    return tuple(dict.fromkeys(Path(place) for place in places))


def _plugins() -> Iterator[str]:
    """Yield where plug-ins are that no path leads to, as those of an editable install."""
    for kind in KINDS:
        for entry in entry_points(group=kind.group):
            with suppress(ImportError, ValueError):
                spec = find_spec(entry.module.partition(".")[0])
                if spec is not None:
                    yield from spec.submodule_search_locations or filter(None, [spec.origin])


def devices() -> tuple[Path, ...]:
    """Return the devices that computing needs, which are written to as well."""
    return tuple(path for name in _DEVICES for path in Path("/dev").glob(name))
