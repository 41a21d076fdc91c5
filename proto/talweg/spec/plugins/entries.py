"""Plug-ins as entries of the catalogue."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from google.protobuf.message import Message

from talweg.spec.catalogue.comments import comment
from talweg.spec.plugins.checking import bounds_of, type_text
from talweg.spec.semantics.dataset_facts import dataset_facts
from talweg.spec.semantics.facts import loss_facts, model_facts
from talweg.v1.catalog_pb2 import DatasetEntry, LossEntry, ModelEntry, Parameter
from talweg.v1.datasets_pb2 import DatasetPlugin
from talweg.v1.jobs_pb2 import Environment
from talweg.v1.losses_pb2 import Plugin
from talweg.v1.models_pb2 import ModelPlugin
from talweg.v1.options_pb2 import DatasetFacts, LossFacts, ModelFacts
from talweg.v1.plugins_pb2 import PluginDeclaration, PluginOrigin, PluginParameter

PREFIX = "plugin:"
"""What the names of plug-ins begin with among the entries of the catalogue."""

Entry = LossEntry | ModelEntry | DatasetEntry


@dataclass(frozen=True)
class Told:
    """What a worker has told of its plug-ins."""

    worker: str
    """The worker's name."""
    queues: tuple[str, ...]
    """The queues that it takes jobs from."""
    plugins: tuple[PluginDeclaration, ...]
    """Those installed beside it."""
    extras: frozenset[str] = frozenset()
    """The optional extras of the package talweg that are installed beside it."""
    environment: Environment | None = None
    """What jobs run on there; None where it has not said."""

    def find(self, kind: int, name: str) -> PluginDeclaration | None:
        """Return its plug-in of a kind and name; None where it has none."""
        fitting = (each for each in self.plugins if (each.kind, each.name) == (kind, name))
        return next(fitting, None)


def plugin_entries(kind: int, told: Iterable[Told]) -> list[Entry]:
    """Give the plug-ins of a kind as entries, by name: one for all workers that have the same.

    Args:
        kind: The kind.
        told: What the workers have told.
    """
    declared: dict[bytes, PluginDeclaration] = {}
    workers: dict[bytes, list[str]] = {}
    for worker in told:
        for plugin in worker.plugins:
            if plugin.kind == kind:
                key = plugin.SerializeToString(deterministic=True)
                declared[key] = plugin
                workers.setdefault(key, []).append(worker.worker)
    ordered = sorted(declared.items(), key=lambda item: (item[1].name, item[0]))
    return [_entry(plugin, sorted(workers[key])) for key, plugin in ordered]


def _entry(plugin: PluginDeclaration, workers: list[str]) -> Entry:
    origin = PluginOrigin(
        package=plugin.package, version=plugin.version, workers=workers, problem=plugin.problem
    )
    name = PREFIX + plugin.name
    parameters = [_parameter(each) for each in plugin.parameters]
    if plugin.kind == PluginDeclaration.LOSS:
        of_loss = LossFacts()
        of_loss.CopyFrom(loss_facts(Plugin.DESCRIPTOR))
        _tell(of_loss, plugin, {"when": plugin.when})
        return LossEntry(
            name=name,
            description=_description(plugin, Plugin()),
            facts=of_loss,
            parameters=parameters,
            plugin=origin,
        )
    if plugin.kind == PluginDeclaration.MODEL:
        of_model = ModelFacts()
        of_model.CopyFrom(model_facts(ModelPlugin.DESCRIPTOR))
        _tell(of_model, plugin, {"when": plugin.when})
        return ModelEntry(
            name=name,
            description=_description(plugin, ModelPlugin()),
            facts=of_model,
            parameters=parameters,
            plugin=origin,
        )
    of_data = DatasetFacts()
    of_data.CopyFrom(dataset_facts(DatasetPlugin.DESCRIPTOR))
    of_data.ClearField("arrays")
    _tell(of_data, plugin, {"description": plugin.description})
    return DatasetEntry(
        name=name,
        description=_description(plugin, DatasetPlugin()),
        facts=of_data,
        parameters=parameters,
        plugin=origin,
    )


def _tell(
    facts: LossFacts | ModelFacts | DatasetFacts,
    plugin: PluginDeclaration,
    texts: Mapping[str, str],
) -> None:
    """Put what a plug-in says of itself in place of what holds of all plug-ins of its kind."""
    for name, text in {**texts, "reference": plugin.reference}.items():
        if text:
            setattr(facts, name, text)
    if plugin.tasks:
        fitting = [task for task in facts.tasks if task in plugin.tasks]
        facts.ClearField("tasks")
        facts.tasks.extend(fitting)


def _description(plugin: PluginDeclaration, message: Message) -> str:
    return plugin.description or comment(message.DESCRIPTOR.full_name)


def _parameter(parameter: PluginParameter) -> Parameter:
    allowed = [", ".join(parameter.choices)] if parameter.choices else [str(bounds_of(parameter))]
    if not parameter.HasField("default"):
        allowed.append("required")
    return Parameter(
        name=parameter.name,
        type=type_text(parameter),
        default=parameter.default,
        allowed="; ".join(filter(None, allowed)),
        description=parameter.description,
    )
