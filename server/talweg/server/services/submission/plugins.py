"""Plug-ins that specs name: whether workers have them, and whether their parameters are right.

A server knows what its workers have told it. Where none has, the worker that takes the job checks.
"""

import functools
from collections.abc import Iterator, Sequence

from google.protobuf.descriptor import Descriptor

from talweg.spec import Violation, task_kind
from talweg.spec.errors import one_of, shown
from talweg.spec.fields import fields
from talweg.spec.plugins import KINDS, PluginUse, Told, check_parameters, plugin_uses
from talweg.spec.reading import json_objects
from talweg.spec.semantics.facts import task_name
from talweg.spec.spelling import nearest
from talweg.v1.jobs_pb2 import Warning
from talweg.v1.options_pb2 import TaskKind
from talweg.v1.plugins_pb2 import PluginDeclaration
from talweg.v1.spec_pb2 import JobSpec

_MOST_NAMES = 10
_MESSAGES = {kind.message for kind in KINDS}
# Where its own task is the job's: no backbone of another model.
_WHOLE = ("dataset.plugin", "model.plugin")


def may_name_plugins(spec: JobSpec) -> bool:
    """Tell whether a spec names plug-ins, or may do so further down.

    It looks at what is chosen alone, however large the spec is.
    """
    for message in (spec.dataset, spec.model, spec.loss):
        name = message.WhichOneof("kind")
        if name is not None and _may_hold(getattr(message, name).DESCRIPTOR):
            return True
    return False


@functools.cache
def _may_hold(descriptor: Descriptor) -> bool:
    """Tell whether a message may hold a plug-in, at any depth."""
    waiting, looked_at = [descriptor], set[Descriptor]()
    while waiting:
        current = waiting.pop()
        if current in _MESSAGES:
            return True
        if current not in looked_at:
            looked_at.add(current)
            waiting += [each.message for each in fields(current).values() if each.message]
    return False


def without_facts(spec: JobSpec) -> JobSpec:
    """Return a spec without what only a worker may say of its data."""
    if not spec.dataset.plugin.HasField("facts"):
        return spec
    own = JobSpec()
    own.CopyFrom(spec)
    own.dataset.plugin.ClearField("facts")
    return own


def check_plugins(
    spec: JobSpec, told: Sequence[Told], queue: str
) -> tuple[list[Violation], list[Warning]]:
    """Check the plug-ins of a completed spec, and add the defaults of their parameters in place.

    What a job that goes on with another, or replays one, does not set is left as it was for that.

    Args:
        spec: Filled.
        told: What workers have told.
        queue: The queue from which workers take the job.

    Returns:
        All violations, and warnings.
    """
    workers = [each for each in told if queue in each.queues]
    violations: list[Violation] = []
    warnings: list[Warning] = []
    fills = not (spec.HasField("continued_from") or spec.HasField("replay"))
    for use in plugin_uses(spec):
        if not workers:
            warnings.append(_nobody_has_told(use, queue))
            continue
        declared = [
            plugin
            for worker in workers
            if (plugin := worker.find(use.kind.number, use.message.name)) is not None
        ]
        loaded = [plugin for plugin in declared if not plugin.problem]
        if not loaded:
            violations.append(_broken(use, declared[-1]) if declared else _missing(use, workers))
            continue
        violations += _task(use, loaded[-1], task_kind(spec))
        violations += _parameters(use, loaded, fills=fills)
        if len(loaded) < len(workers):
            warnings.append(_some_lack(use, len(loaded), len(workers), queue))
    return violations, warnings


def _parameters(
    use: PluginUse, declared: Sequence[PluginDeclaration], *, fills: bool
) -> list[Violation]:
    """Check parameters; where workers have several versions of a plug-in, one must take them."""
    try:
        given = json_objects.read(use.message.parameters or "{}")
    except ValueError:
        return []  # Said already.
    violations: list[Violation] = []
    for plugin in reversed(declared):
        complete, problems = check_parameters(plugin, given, f"{use.path}.parameters")
        if not problems:
            text = json_objects.as_text(complete)
            if fills and isinstance(text, str):
                use.message.parameters = text
            return []
        # What the worker that told last has is the newest version, as a rule.
        violations = violations or problems
    return violations


def _task(
    use: PluginUse, plugin: PluginDeclaration, task: TaskKind.ValueType
) -> Iterator[Violation]:
    is_whole = use.path in _WHOLE or use.kind.number == PluginDeclaration.LOSS
    if is_whole and task and plugin.tasks and task not in plugin.tasks:
        tasks = [task_name(each) for each in plugin.tasks]
        yield Violation(
            f"{use.path}.name",
            f"{shown(use.message.name)} under task {task_name(task)}",
            f"a {use.kind.word} for this task",
            f"{use.message.name} suits tasks {', '.join(tasks)}",
        )


def _missing(use: PluginUse, workers: Sequence[Told]) -> Violation:
    known = sorted(
        {
            plugin.name
            for worker in workers
            for plugin in worker.plugins
            if plugin.kind == use.kind.number and not plugin.problem
        }
    )
    install = (
        "install the package that has it beside the workers, pip install PACKAGE, and restart them"
    )
    return Violation(
        f"{use.path}.name",
        f"{shown(use.message.name)}, which no worker has",
        one_of(known[:_MOST_NAMES])
        if known
        else f"a {use.kind.word} plug-in that is installed beside the workers, of which there is "
        "none",
        nearest(use.message.name, known) or install,
    )


def _broken(use: PluginUse, plugin: PluginDeclaration) -> Violation:
    package = f" of {plugin.package} {plugin.version}" if plugin.package else ""
    return Violation(
        f"{use.path}.name",
        f"{shown(use.message.name)}{package}, which the workers cannot load: {plugin.problem}",
        f"a {use.kind.word} plug-in that can be loaded",
        "install a version that works beside the workers, and restart them",
    )


def _nobody_has_told(use: PluginUse, queue: str) -> Warning:
    return Warning(
        kind=Warning.PLUGIN_UNKNOWN,
        field=f"{use.path}.name",
        message=f"No worker of queue {queue} has told which plug-ins it has, so that "
        f"{shown(use.message.name)} and its parameters are checked by the worker that takes the "
        "job. `talweg status` shows the workers.",
    )


def _some_lack(use: PluginUse, number: int, workers: int, queue: str) -> Warning:
    return Warning(
        kind=Warning.PLUGIN_UNKNOWN,
        field=f"{use.path}.name",
        message=f"{number} of {workers} workers of queue {queue} have plug-in "
        f"{shown(use.message.name)}: the job fails if another one takes it. Install it beside "
        "all of them, and restart them.",
    )
