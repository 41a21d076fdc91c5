"""What code a plug-in is: by it jobs are told apart whose plug-ins have changed."""

import hashlib
import os
import sys
from collections.abc import Iterator
from functools import cache, lru_cache
from importlib.metadata import EntryPoint, distributions, entry_points
from importlib.util import find_spec
from pathlib import Path

from talweg.spec.plugins import plugin_key, plugin_uses
from talweg.v1.spec_pb2 import JobSpec

# What is larger has data inside, or is no plug-in's own.
_MOST_FILES, _MOST_BYTES = 2_000, 64 * 2**20
_COMPILED = "__pycache__"


def digest_of(entry: EntryPoint) -> str:
    """Return the digest of a plug-in's code, and of the versions of all that is installed beside.

    Its code are all files of the package that it is in, so that an editable install that was
    edited is another one. The package is not imported.

    Args:
        entry: Where it is.

    Returns:
        64 hexadecimal digits; empty where its files cannot be read, are too many, or are others
        than when this process first looked: nobody knows then which of them a job has imported.
    """
    module = entry.value.partition(":")[0].partition(".")[0]
    first = _first_digest(module)
    return first if _digest(module) == first else ""


def digests_of(spec: JobSpec) -> dict[str, str]:
    """Return the digests of the plug-ins that a job uses, by key; those without one are missing.

    Args:
        spec: The job's.
    """
    found = {}
    for use in plugin_uses(spec):
        entries = [*entry_points(group=use.kind.group, name=use.message.name)]
        if len(entries) == 1 and (digest := digest_of(entries[0])):
            found[plugin_key(use.kind, use.message.name)] = digest
    return found


@cache
def _first_digest(module: str) -> str:
    return _digest(module)


def _digest(module: str) -> str:
    digest = hashlib.sha256()
    try:
        files = list(_files(module))
        if not files or len(files) > _MOST_FILES:
            return ""
        if sum(path.stat().st_size for _, path in files) > _MOST_BYTES:
            return ""
        for name, path in files:
            digest.update(f"{name}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    except (OSError, ImportError, ValueError):
        return ""
    found = {each for folder in sys.path for each in _installed(folder, _changed_at(folder))}
    for each in sorted(found):
        digest.update(f"{each}\n".encode())
    return digest.hexdigest()


@lru_cache(maxsize=64)
def _installed(folder: str, _changed_at: int) -> frozenset[str]:
    """Return all that is installed in a folder, with versions.

    Reading each one's metadata takes a tenth of a second for 250, so it is done again only where
    the folder has changed, as whatever installs changes it.
    """
    read = (each.metadata for each in distributions(path=[folder]))
    return frozenset(f"{each['Name']}=={each['Version']}" for each in read)


def _changed_at(folder: str) -> int:
    try:
        return os.stat(folder or os.curdir).st_mtime_ns
    except OSError:
        return 0


def _files(module: str) -> Iterator[tuple[str, Path]]:
    """Yield the files of a module or package in one order, each with its name in it."""
    spec = find_spec(module)
    if spec is None:
        return
    for folder in sorted(spec.submodule_search_locations or ()):
        for path in sorted(Path(folder).rglob("*")):
            if path.is_file() and _COMPILED not in path.parts:
                yield path.relative_to(folder).as_posix(), path
    if spec.submodule_search_locations is None and spec.origin:
        yield module, Path(spec.origin)
