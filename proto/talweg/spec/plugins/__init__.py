"""Plug-ins that specs name: where they stand, and whether their parameters are as declared."""

from talweg.spec.plugins.checking import check_parameters
from talweg.spec.plugins.entries import PREFIX, Told, plugin_entries
from talweg.spec.plugins.uses import (
    KINDS,
    AnyPlugin,
    PluginKind,
    PluginUse,
    kind_of,
    plugin_key,
    plugin_uses,
)

__all__ = [
    "KINDS",
    "PREFIX",
    "AnyPlugin",
    "PluginKind",
    "PluginUse",
    "Told",
    "check_parameters",
    "kind_of",
    "plugin_entries",
    "plugin_key",
    "plugin_uses",
]
