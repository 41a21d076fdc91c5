"""Plug-ins that are installed beside the worker: found, called, and told of."""

from talweg.worker.plugins.calling import InstalledPlugin, find
from talweg.worker.plugins.digests import digests_of
from talweg.worker.plugins.installed import installed, names

__all__ = ["InstalledPlugin", "digests_of", "find", "installed", "names"]
