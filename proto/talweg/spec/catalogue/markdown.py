"""Renders the catalogue as a page: ``python -m talweg.spec.catalogue.markdown``."""

import sys
from collections.abc import Iterable, Iterator, Sequence

from google.protobuf.descriptor import Descriptor

from talweg.spec.catalogue import entries as catalogue
from talweg.spec.catalogue.comments import comment
from talweg.spec.fields import choices, fields, shorthand
from talweg.spec.semantics.facts import task_name
from talweg.spec.semantics.outputs import MODEL_GIVES
from talweg.spec.semantics.pairs_triplets import arrays_of_facts
from talweg.v1.catalog_pb2 import Parameter
from talweg.v1.guard_pb2 import Guard
from talweg.v1.models_pb2 import Layer
from talweg.v1.optimizers_pb2 import Schedule
from talweg.v1.options_pb2 import Activation, BatchPooling, Goal, OutputFacts
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.tasks_pb2 import Multitask, Task

_INTRODUCTION = """\
# Catalogue

What a job file can say, rendered from the `.proto` files in `proto/talweg/v1` by `make proto`.
A choice is written by its name, with its parameters or without: `loss: {huber: {delta: 2}}`,
`loss: mse`. A parameter left out takes its default; where that is blank, it has none, or its
meaning tells. Further names behind a parameter's own are aliases: job files and `--set` accept
them, and specs are stored and printed under the parameter's own name.
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
        *_choice("Schedules", Schedule.DESCRIPTOR),
        *_choice("Guard policies", Guard.DESCRIPTOR),
        *_job_file(),
    ]
    return "\n".join(blocks)


def _losses() -> Iterator[str]:
    yield _section("Losses")
    yield _table(
        ["loss", "tasks", "when"],
        [
            [
                _link("loss", entry.name),
                ", ".join(map(task_name, entry.facts.tasks)),
                entry.facts.when,
            ]
            for entry in catalogue.losses()
        ],
    )
    yield (
        "Beside them stand functions of more than tensors by name: `gradient_penalty`, "
        "`clip_by_global_norm`,\n`clip_by_value` and `class_weights`, "
        "[from Python](losses.md#from-python).\n"
    )
    for entry in catalogue.losses():
        yield _heading("loss", entry.name, entry.description)
        facts = [
            f"Inputs: {', '.join(entry.facts.inputs)}.",
            f"For {', '.join(map(task_name, entry.facts.tasks))}.",
            f"Reference: {entry.facts.reference}.",
        ]
        if entry.facts.HasField("output"):
            facts.append(f"The model gives {_output(entry.facts.output)}.")
        if entry.facts.activation == Activation.SIGMOID:
            facts.append("A sigmoid is applied to the model's outputs.")
        if entry.facts.HasField("pools_batch"):
            facts.append(_pooling(entry.facts.pools_batch))
        if entry.facts.groups:
            facts.append(f"Data may give {entry.facts.groups}; else they are made of labels.")
        if entry.facts.nonnegative_targets:
            facts.append("Targets are 0 or more.")
        if entry.facts.only_evaluated:
            facts.append(f"For evaluate alone, since {entry.facts.only_evaluated}.")
        if entry.facts.raw_targets:
            facts.append("Targets stay in their own units.")
        if entry.facts.prefer:
            facts.append(f"Better for nearly every use: {entry.facts.prefer}.")
        yield _lines(facts)
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


def _pooling(pooling: BatchPooling) -> str:
    """Say that a loss depends on which samples stand together, and where."""
    where = f" where `{pooling.parameter}: {pooling.value}`" if pooling.parameter else ""
    return (
        f"Its value depends on which samples stand in a batch{where}: evaluations take "
        "[`training.evaluation_batch_size`](#part-training) samples at a time."
    )


def _tasks() -> Iterator[str]:
    yield _section("Tasks")
    for entry in catalogue.tasks():
        yield _heading("task", entry.name, entry.description)
        yield _lines(
            [
                f"When: {entry.facts.when}.",
                f"Data: {entry.facts.data}.",
                f"Reads {', '.join(f'`{name}`' for name in entry.facts.arrays)} of the data set.",
                f"The model gives {entry.facts.output}.",
                f"Losses: {', '.join(_link('loss', name) for name in entry.losses)}.",
                *_aliases(Task.DESCRIPTOR, entry.name),
            ]
        )
        if not entry.facts.metrics:
            yield "- Its metrics are those of its heads, behind a head's name and a stroke.\n"
            yield "\n" + _parameters(entry.parameters)
            continue
        yield _table(
            ["metric", "better", "meaning"],
            [
                [
                    f"`{metric.name}_…`, one a class" if metric.by_class else f"`{metric.name}`",
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
    yield _section("Models")
    for entry in catalogue.models():
        yield _heading("model", entry.name, entry.description)
        yield _lines(
            [
                f"When: {entry.facts.when}.",
                f"Takes {entry.facts.input}.",
                f"For {', '.join(map(task_name, entry.facts.tasks))}.",
                f"Reference: {entry.facts.reference}.",
            ]
        )
        yield _parameters(entry.parameters)
    yield from _choice("Layers of a sequential", Layer.DESCRIPTOR)


def _datasets() -> Iterator[str]:
    yield _section("Data sets")
    for entry in catalogue.datasets():
        yield _heading("dataset", entry.name, entry.description)
        yield _lines(
            [
                f"{entry.facts.description}.",
                f"Holds {', '.join(arrays_of_facts(entry.facts))}.",
                f"For {', '.join(map(task_name, entry.facts.tasks))}.",
                f"Reference: {entry.facts.reference}.",
            ]
        )
        yield _parameters(entry.parameters)


def _optimizers() -> Iterator[str]:
    yield _section("Optimizers")
    for entry in catalogue.optimizers():
        yield _heading("optimizer", entry.name, entry.description)
        yield _lines(
            [
                f"When: {entry.facts.when}.",
                f"A learning rate above {entry.facts.usual_rate_max:g} brings a warning.",
                f"Reference: {entry.facts.reference}.",
            ]
        )
        yield _parameters(entry.parameters)


def _choice(title: str, choice: Descriptor) -> Iterator[str]:
    """Render a choice whose members carry no facts."""
    yield _section(title)
    yield f"{comment(choice.full_name)}\n"
    for name, message in catalogue.members(choice):
        yield _heading(choice.name.lower(), name, comment(message.full_name))
        yield _parameters(catalogue.parameters(message))


def _job_file() -> Iterator[str]:
    yield _section("The job file")
    yield comment(JobSpec.DESCRIPTOR.full_name) + "\n"
    yield _parameters(catalogue.parameters(JobSpec.DESCRIPTOR))
    yield from _parts(_messages_below(JobSpec.DESCRIPTOR))


def _parts(messages: Iterable[Descriptor]) -> Iterator[str]:
    for message in dict.fromkeys(messages):
        yield _heading("part", message.name, comment(message.full_name))
        if choices(message):
            yield from _members(message)
            continue
        if shorthand(message):
            yield f"A bare value stands for its `{shorthand(message)}`.\n"
        yield _parameters(catalogue.parameters(message))


def _members(choice: Descriptor) -> Iterator[str]:
    """Render the members of a choice within a part: losses of the page, or of its own."""
    losses = {message for _, message in catalogue.members(_field(JobSpec.DESCRIPTOR, "loss"))}
    of_page = [name for name, message in catalogue.members(choice) if message in losses]
    if of_page:
        yield f"One of {', '.join(_link('loss', name) for name in of_page)}.\n"
    for name, message in catalogue.members(choice):
        if name not in of_page:
            yield _heading(choice.name, name, comment(message.full_name))
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
    held = fields(message)[name].message
    assert held is not None
    return held


def _parameters(parameters: Sequence[Parameter]) -> str:
    if not parameters:
        return "No parameters.\n"
    return _table(
        ["parameter", "type", "default", "allowed", "meaning"],
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


def _section(title: str) -> str:
    return f"## {title}\n"


def _anchor(group: str, name: str) -> str:
    return f"{group}-{name}".lower()


def _heading(group: str, name: str, description: str) -> str:
    text = f"{description}\n" if description else ""
    return f'<a id="{_anchor(group, name)}"></a>\n### {name}\n\n{text}'


def _link(group: str, name: str) -> str:
    return f"[`{name}`](#{_anchor(group, name)})"


def _lines(lines: Iterable[str]) -> str:
    return "".join(f"- {line}\n" for line in lines)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    def row(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"

    return row(header) + row(["---"] * len(header)) + "".join(map(row, rows))


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8", newline="\n")  # type: ignore[union-attr]
    sys.stdout.write(render())
