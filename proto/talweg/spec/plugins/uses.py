"""The kinds of plug-ins, and where a spec names some."""

from collections.abc import Iterator
from dataclasses import dataclass

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from talweg.spec.errors import joined
from talweg.spec.fields import descriptor_of, fields
from talweg.v1.datasets_pb2 import DatasetPlugin
from talweg.v1.losses_pb2 import Plugin
from talweg.v1.models_pb2 import ModelPlugin
from talweg.v1.plugins_pb2 import PluginDeclaration
from talweg.v1.spec_pb2 import JobSpec

AnyPlugin = Plugin | ModelPlugin | DatasetPlugin
"""By which specs name a plug-in."""


@dataclass(frozen=True)
class PluginKind:
    """What plug-ins of a kind have in common."""

    number: PluginDeclaration.Kind.ValueType
    """The kind as workers tell it."""
    word: str
    """What it adds, in words: loss, model, data set."""
    group: str
    """The group of its entry points."""
    message: Descriptor
    """By which specs name one."""


KINDS = (
    PluginKind(PluginDeclaration.LOSS, "loss", "talweg.losses", Plugin.DESCRIPTOR),
    PluginKind(PluginDeclaration.MODEL, "model", "talweg.models", ModelPlugin.DESCRIPTOR),
    PluginKind(PluginDeclaration.DATASET, "data set", "talweg.datasets", DatasetPlugin.DESCRIPTOR),
)
"""All kinds of plug-ins."""

_BY_MESSAGE = {kind.message.full_name: kind for kind in KINDS}


@dataclass(frozen=True)
class PluginUse:
    """A plug-in that a spec names."""

    kind: PluginKind
    """Its kind."""
    path: str
    """Where it stands, such as ``model.plugin``."""
    message: AnyPlugin
    """The spec's own message."""


def kind_of(message: AnyPlugin) -> PluginKind:
    """Return the kind of the plug-in that a message names."""
    return _BY_MESSAGE[message.DESCRIPTOR.full_name]


def plugin_key(kind: PluginKind, name: str) -> str:
    """Return by what a plug-in is told from all others, such as `loss/NAME`."""
    return f"{kind.group.rpartition('.')[2]}/{name}"


def plugin_uses(spec: JobSpec) -> Iterator[PluginUse]:
    """Give the plug-ins that a spec names, in the order of the spec: data, model and losses.

    Args:
        spec: Within the limits of specs.
    """
    for name in ("dataset", "model", "loss"):
        yield from _below(getattr(spec, name), name)


def _below(message: Message, path: str) -> Iterator[PluginUse]:
    kind = _BY_MESSAGE.get(descriptor_of(message).full_name)
    if kind is not None:
        assert isinstance(message, AnyPlugin)
        yield PluginUse(kind, path, message)
        return
    known = fields(descriptor_of(message))
    for descriptor, value in message.ListFields():
        field = known[descriptor.name]
        if field.message is None or field.is_map:
            continue
        at = joined(path, field.name)
        if field.is_list:
            for index, part in enumerate(value):
                yield from _below(part, f"{at}[{index}]")
        else:
            yield from _below(value, at)
