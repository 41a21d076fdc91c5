"""What a plug-in says of itself, as the server is told."""

import json
from importlib.metadata import EntryPoint
from typing import Any

from talweg.plugins import DECLARATION, REQUIRED, Declaration, Parameter
from talweg.spec.errors import one_of
from talweg.spec.plugins import PluginKind, check_parameters
from talweg.spec.semantics.facts import tasks_by_name
from talweg.v1.plugins_pb2 import PluginDeclaration, PluginParameter
from talweg.worker.plugins.digests import digest_of

_TYPES = {
    float: PluginParameter.NUMBER,
    int: PluginParameter.INTEGER,
    bool: PluginParameter.BOOLEAN,
    str: PluginParameter.TEXT,
}


def located(kind: PluginKind, entry: EntryPoint) -> PluginDeclaration:
    """Return what is known of a plug-in that was not loaded."""
    declaration = PluginDeclaration(
        kind=kind.number, name=entry.name, undeclared=True, digest=digest_of(entry)
    )
    if entry.dist is not None:
        declaration.package, declaration.version = entry.dist.name, entry.dist.version
    return declaration


def described(kind: PluginKind, entry: EntryPoint, plugin: Any) -> PluginDeclaration:
    """Return what a plug-in says of itself.

    Args:
        kind: What it adds.
        entry: Where it is.
        plugin: What was loaded from there.

    Raises:
        TypeError: It is not callable, or its declaration is not made by `declare`.
        ValueError: It declares what cannot be: a task that is unknown, a default out of bounds.
    """
    declaration = located(kind, entry)
    if not callable(plugin):
        raise TypeError(f"{entry.value} must be callable, but is {type(plugin).__name__}")
    own = getattr(plugin, DECLARATION, None)
    if own is None:
        return declaration
    if not isinstance(own, Declaration):
        raise TypeError(
            f"{DECLARATION} of {entry.value} must be made by talweg.plugins.declare, but is "
            f"{type(own).__name__}"
        )
    declaration.undeclared = False
    declaration.description = own.description
    declaration.when = own.when
    declaration.reference = own.reference
    known = tasks_by_name()
    for task in own.tasks:
        if task not in known:
            raise ValueError(f"tasks of {entry.value} must be {one_of(known)}, but got {task!r}")
        declaration.tasks.append(known[task])
    declaration.parameters.extend(map(_parameter, own.parameters))
    _check_defaults(declaration)
    return declaration


def _parameter(parameter: Parameter) -> PluginParameter:
    told = PluginParameter(
        name=parameter.name,
        type=_TYPES[parameter.item_type],
        list=parameter.is_list,
        choices=parameter.choices,
        description=parameter.description,
    )
    for name in ("gt", "ge", "lt", "le"):
        bound = getattr(parameter, name)
        if bound is not None:
            setattr(told.bounds, name, bound)
    if parameter.default is not REQUIRED:
        told.default = json.dumps(parameter.default, ensure_ascii=False, allow_nan=False)
    return told


def _check_defaults(declaration: PluginDeclaration) -> None:
    """Refuse defaults that no job could set."""
    defaults = {
        parameter.name: json.loads(parameter.default)
        for parameter in declaration.parameters
        if parameter.HasField("default")
    }
    _, violations = check_parameters(declaration, defaults, "default")
    wrong = [each for each in violations if each.found != "nothing"]
    if wrong:
        raise ValueError("; ".join(map(str, wrong)))
