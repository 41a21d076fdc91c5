"""Renders the catalogue as a page: ``python -m talweg.spec.catalogue.markdown``."""

from collections.abc import Iterable, Iterator, Sequence

from google.protobuf.descriptor import Descriptor

from talweg.spec.catalogue import entries as catalogue
from talweg.spec.catalogue.comments import comment
from talweg.spec.catalogue.layout import heading, lines, link, section, table, write
from talweg.spec.fields import choices, fields, shorthand, title
from talweg.spec.semantics.facts import task_name
from talweg.spec.semantics.outputs import MODEL_GIVES
from talweg.spec.semantics.pairs_triplets import arrays_of_facts
from talweg.v1.catalog_pb2 import Parameter
from talweg.v1.datasets_pb2 import Dataset
from talweg.v1.guard_pb2 import Guard
from talweg.v1.losses_pb2 import Loss
from talweg.v1.models_pb2 import Layer, Model
from talweg.v1.optimizers_pb2 import Optimizer, Schedule
from talweg.v1.options_pb2 import Activation, Condition, Goal, OutputFacts
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.spikes_pb2 import Spikes
from talweg.v1.tasks_pb2 import Multitask, Task

_INTRODUCTION = """\
# Catalogue

Reference of everything that a job file can contain, generated from the `.proto` files in
`proto/talweg/v1` by `make proto`. A choice is written by its name, with or without parameters:
`loss: {huber: {delta: 2}}`, `loss: mse`. An omitted parameter takes its default; if the default is
blank, there is none, or the description states it. Names listed after a parameter's own name are
aliases: job files and `--set` accept them; specs are stored and printed under the own name.
"""

# Choices with a section of the page.
_SECTIONS = ("Loss", "Task", "Model", "Layer", "Dataset", "Optimizer", "Schedule")


def render() -> str:
    """Render the whole page."""
    blocks = [
        _INTRODUCTION,
        *_losses(),
        *_tasks(),
        *_models(),
        *_datasets(),
        *_optimizers(),
        *_choice("Learning rate schedules", Schedule.DESCRIPTOR),
        *_choice("Guard policies", Guard.DESCRIPTOR),
        *_choice("Spike policies", Spikes.DESCRIPTOR),
        *_job_file(),
    ]
    return "\n".join(blocks)


def _losses() -> Iterator[str]:
    yield section("Losses")
    yield table(
        ["loss", "tasks", "when to use"],
        [
            [
                link("loss", entry.name),
                ", ".join(map(task_name, entry.facts.tasks)),
                entry.facts.when,
            ]
            for entry in catalogue.losses()
        ],
    )
    yield (
        "There are further functions for use [from Python](losses.md#from-python): "
        "`gradient_penalty`,\n`clip_by_global_norm`, `clip_by_value` and `class_weights`.\n"
    )
    for entry in catalogue.losses():
        yield _member(Loss.DESCRIPTOR, entry.name, entry.description)
        facts = [
            f"Inputs: {', '.join(entry.facts.inputs)}.",
            f"Tasks: {', '.join(map(task_name, entry.facts.tasks))}.",
            f"Reference: {entry.facts.reference}.",
        ]
        if entry.facts.HasField("output"):
            facts.append(f"Model outputs: {_output(entry.facts.output)}.")
        if entry.facts.activation == Activation.SIGMOID:
            facts.append("A sigmoid is applied to the model's outputs.")
        if entry.facts.HasField("pools_batch"):
            facts.append(_pooling(entry.facts.pools_batch))
        if entry.facts.groups:
            facts.append(f"Uses the data's {entry.facts.groups}, or forms them from labels.")
        if entry.facts.nonnegative_targets:
            facts.append("Targets must be non-negative.")
        if entry.facts.HasField("nonnegative_outputs"):
            where = _where(entry.facts.nonnegative_outputs)
            facts.append(f"Predictions must be non-negative{where}.")
        if entry.facts.only_evaluated:
            facts.append(f"For `evaluate` only: {entry.facts.only_evaluated}.")
        if entry.facts.raw_targets:
            facts.append("Targets stay in their original units: they are not standardised.")
        if entry.facts.prefer:
            facts.append(f"Better in nearly every case: {entry.facts.prefer}.")
        yield lines(facts)
        yield _parameters(entry.parameters)
    yield from _parts(
        message
        for _, member in catalogue.members(_field(JobSpec.DESCRIPTOR, "loss"))
        for message in _messages_below(member)
    )


def _output(output: OutputFacts) -> str:
    """Say what a model's outputs are, and what else by which parameters."""
    others: dict[str, list[str]] = {}
    for case in output.cases:
        others.setdefault(MODEL_GIVES[case.kind], []).append(f"`{case.parameter}: {case.value}`")
    return MODEL_GIVES[output.kind] + "".join(
        f"; {words} where {' or '.join(conditions)}" for words, conditions in others.items()
    )


def _pooling(condition: Condition) -> str:
    """Say that a loss depends on which samples stand together, and where."""
    where = _where(condition)
    return (
        f"Its value depends on which samples stand in a batch{where}: evaluations take "
        "[`training.evaluation_batch_size`](#part-training) samples at a time."
    )


def _where(condition: Condition) -> str:
    """Say by which parameter a fact holds, behind what holds."""
    if not condition.parameter:
        return ""
    return f" where `{condition.parameter}: {condition.value}`"


def _tasks() -> Iterator[str]:
    yield section("Tasks")
    for entry in catalogue.tasks():
        yield _member(Task.DESCRIPTOR, entry.name, entry.description)
        yield lines(
            [
                f"When to use: {entry.facts.when}.",
                f"Data: {entry.facts.data}.",
                f"Arrays read: {', '.join(f'`{name}`' for name in entry.facts.arrays)}.",
                f"Model outputs: {entry.facts.output}.",
                f"Losses: {', '.join(link('loss', name) for name in entry.losses)}.",
                *_aliases(Task.DESCRIPTOR, entry.name),
            ]
        )
        if not entry.facts.metrics:
            yield "- Metrics: those of its heads, behind the head's name, such as `depth/mae`.\n"
            yield "\n" + _parameters(entry.parameters)
            continue
        yield table(
            ["metric", "better", "description"],
            [
                [
                    f"`{metric.name}_…`, one per class" if metric.by_class else f"`{metric.name}`",
                    "low" if metric.goal == Goal.MINIMIZE else "high",
                    metric.meaning
                    + (f"; undefined where {metric.undefined}" if metric.undefined else ""),
                ]
                for metric in entry.facts.metrics
            ],
        )
        yield _parameters(entry.parameters)
    yield from _parts(
        message
        for _, member in catalogue.members(_field(JobSpec.DESCRIPTOR, "task"))
        for message in _messages_below(member)
    )

    yield from _choice("Heads of a multitask job", Multitask.Head.DESCRIPTOR)


def _models() -> Iterator[str]:
    yield section("Models")
    for entry in catalogue.models():
        yield _member(Model.DESCRIPTOR, entry.name, entry.description)
        yield lines(
            [
                f"When to use: {entry.facts.when}.",
                f"Inputs: {entry.facts.input}.",
                f"Tasks: {', '.join(map(task_name, entry.facts.tasks))}.",
                f"Reference: {entry.facts.reference}.",
            ]
        )
        yield _parameters(entry.parameters)
    yield from _parts(
        message
        for _, member in catalogue.members(_field(JobSpec.DESCRIPTOR, "model"))
        for message in _messages_below(member)
    )
    yield from _choice("Layers of a sequential model", Layer.DESCRIPTOR)


def _datasets() -> Iterator[str]:
    yield section("Data sets")
    for entry in catalogue.datasets():
        yield _member(Dataset.DESCRIPTOR, entry.name, entry.description)
        unit = " All input values are in [0, 1]." if entry.facts.in_unit_range else ""
        yield lines(
            [
                f"{entry.facts.description}.",
                f"Arrays: {', '.join(arrays_of_facts(entry.facts))}.{unit}",
                f"Tasks: {', '.join(map(task_name, entry.facts.tasks))}.",
                f"Reference: {entry.facts.reference}.",
            ]
        )
        yield _parameters(entry.parameters)
    yield from _parts(
        message
        for _, member in catalogue.members(Dataset.DESCRIPTOR)
        for message in _messages_below(member)
    )


def _optimizers() -> Iterator[str]:
    yield section("Optimizers")
    for entry in catalogue.optimizers():
        yield _member(Optimizer.DESCRIPTOR, entry.name, entry.description)
        yield lines(
            [
                f"When to use: {entry.facts.when}.",
                f"A learning rate above {entry.facts.usual_rate_max:g} raises a warning.",
                f"Reference: {entry.facts.reference}.",
            ]
        )
        yield _parameters(entry.parameters)


def _choice(words: str, choice: Descriptor) -> Iterator[str]:
    """Render a choice whose members carry no facts."""
    yield section(words)
    yield f"{comment(choice.full_name)}\n"
    for name, message in catalogue.members(choice):
        term = title(message)
        yield heading(choice.name.lower(), name, comment(message.full_name), term=term)
        yield _parameters(catalogue.parameters(message))


def _job_file() -> Iterator[str]:
    yield section("Job file")
    yield comment(JobSpec.DESCRIPTOR.full_name) + "\n"
    yield _parameters(catalogue.parameters(JobSpec.DESCRIPTOR))
    yield from _parts(_messages_below(JobSpec.DESCRIPTOR))


def _parts(messages: Iterable[Descriptor]) -> Iterator[str]:
    for message in dict.fromkeys(messages):
        yield heading("part", message.name, comment(message.full_name), term=title(message))
        if choices(message):
            yield from _members(message)
            continue
        if shorthand(message):
            yield f"A bare value stands for its `{shorthand(message)}`.\n"
        yield _parameters(catalogue.parameters(message))


def _members(choice: Descriptor) -> Iterator[str]:
    """Render the members of a choice within a part: losses or models of the page, or its own."""
    groups = {
        message: group
        for group in ("loss", "model")
        for _, message in catalogue.members(_field(JobSpec.DESCRIPTOR, group))
    }
    members = list(catalogue.members(choice))
    links = [link(groups[message], name) for name, message in members if message in groups]
    if links:
        yield f"One of {', '.join(links)}.\n"
    for name, message in members:
        if message not in groups:
            term = title(message)
            yield heading(choice.name, name, comment(message.full_name), term=term)
            if shorthand(message):
                yield f"A bare value stands for its `{shorthand(message)}`.\n"
            yield _parameters(catalogue.parameters(message))


def _messages_below(message: Descriptor) -> Iterator[Descriptor]:
    """Give the messages that fields hold, at any depth, but for choices that have sections."""
    for field in fields(message).values():
        if field.message is None or field.is_map or field.message.name in _SECTIONS:
            continue
        yield field.message
        if not choices(field.message):
            yield from _messages_below(field.message)


def _aliases(choice: Descriptor, name: str) -> Iterator[str]:
    """Name the aliases of a choice's member, if it has any."""
    if aliases := fields(choice)[name].aliases:
        yield f"Alias: {', '.join(f'`{alias}`' for alias in aliases)}."


def _field(message: Descriptor, name: str) -> Descriptor:
    descriptor = fields(message)[name].message
    assert descriptor is not None
    return descriptor


def _parameters(parameters: Sequence[Parameter]) -> str:
    if not parameters:
        return "No parameters.\n"
    return table(
        ["parameter", "type", "default", "allowed", "description"],
        [
            [
                ", ".join(f"`{name}`" for name in (parameter.name, *parameter.aliases)),
                parameter.type,
                f"`{parameter.default}`" if parameter.default else "",
                parameter.allowed,
                parameter.description,
            ]
            for parameter in parameters
        ],
    )


def _member(choice: Descriptor, name: str, description: str) -> str:
    """Head the section of a choice's member."""
    term = title(_field(choice, name))
    return heading(choice.name.lower(), name, description, term=term)


if __name__ == "__main__":
    write(render())
