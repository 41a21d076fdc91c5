"""Plug-ins that are installed beside the worker: found, called, and told of."""

from talweg.worker.plugins.calling import InstalledPlugin, find
from talweg.worker.plugins.installed import installed, names

__all__ = ["InstalledPlugin", "find", "installed", "names"]
