"""What the service knows, from the descriptors."""

from collections.abc import Sequence
from typing import cast

from talweg import spec
from talweg.server.errors import FieldProblem, InvalidRequest
from talweg.spec.plugins import Told, plugin_entries
from talweg.spec.semantics.facts import tasks_by_name
from talweg.v1.catalog_pb2 import DatasetEntry, LossEntry, ModelEntry
from talweg.v1.plugins_pb2 import PluginDeclaration
from talweg.v1.recommendations_pb2 import ProblemFacts, RecommendLossResponse


def losses(task: str, told: Sequence[Told]) -> Sequence[LossEntry]:
    """List losses, and the plug-ins that workers have told of.

    Args:
        task: Only those that fit this task; all where empty.
        told: What workers have told.

    Raises:
        InvalidRequest: There is no such task.
    """
    try:
        known = spec.losses(task or None)
    except ValueError as exc:
        raise InvalidRequest.of("task", str(exc).removeprefix("task ")) from exc
    own = cast(list[LossEntry], plugin_entries(PluginDeclaration.LOSS, told))
    if task:
        own = [entry for entry in own if tasks_by_name()[task] in entry.facts.tasks]
    return [*known, *own]


def models(told: Sequence[Told]) -> Sequence[ModelEntry]:
    """List models, and the plug-ins that workers have told of."""
    own = cast(list[ModelEntry], plugin_entries(PluginDeclaration.MODEL, told))
    return [*spec.models(), *own]


def datasets(told: Sequence[Told]) -> Sequence[DatasetEntry]:
    """List data sets, and the plug-ins that workers have told of."""
    own = cast(list[DatasetEntry], plugin_entries(PluginDeclaration.DATASET, told))
    return [*spec.datasets(), *own]


def recommend(task: str, facts: ProblemFacts) -> RecommendLossResponse:
    """Rank the losses that suit a task, given what is known about its data.

    Args:
        task: A task by kind; those too that no job can have yet.
        facts: What is known and wanted.

    Raises:
        InvalidRequest: There is no such task, or facts break rules; carries every violation.
    """
    try:
        return spec.recommend(task, facts)
    except spec.SpecError as exc:
        raise InvalidRequest(
            "; ".join(map(str, exc.violations)),
            fields=[FieldProblem(each.field, each.description) for each in exc.violations],
        ) from exc
