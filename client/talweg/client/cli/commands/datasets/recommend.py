"""`talweg recommend`."""

import textwrap
from typing import TYPE_CHECKING, Any

import click

from talweg import spec
from talweg.client import InvalidRequest
from talweg.client.catalogue._facts import to_facts
from talweg.client.cli._common import (
    F,
    Session,
    ask_or_know,
    console,
    json_option,
    note,
    print_json,
    say,
)
from talweg.v1.catalog_pb2 import Parameter
from talweg.v1.options_pb2 import TaskKind
from talweg.v1.recommendations_pb2 import LossRecommendation, ProblemFacts, RecommendLossResponse
from talweg.v1.spec_pb2 import JobSpec

if TYPE_CHECKING:
    from talweg.client.cli.commands.datasets.measure import Look

_FLAG = spec.fields.Type.FLAG.value
_CHOICE = "one of"
_LIST = "list of "
_WIDTH = 96
# All but the first, which means unspecified.
_TASKS = tuple(name.lower() for name in TaskKind.keys()[1:])


def _fact_options(command: F) -> F:
    """Add an option per fact, from the same descriptors as the server."""
    for fact in reversed(spec.facts()):
        name = f"--{fact.name.replace('_', '-')}"
        if fact.type == _FLAG:
            option = click.option(name, fact.name, is_flag=True, help=fact.description)
        else:
            metavar = _metavar(fact)
            option = click.option(name, fact.name, metavar=metavar, help=fact.description)
        command = option(command)
    return command


def _metavar(fact: Parameter) -> str:
    if fact.type.startswith(_LIST):
        return "A,B,…"
    return fact.allowed.replace(", ", "|") if fact.type == _CHOICE else "NUMBER"


@click.command()
@click.option(
    "--task", help=f"The task: {', '.join(_TASKS)}. Not needed if --data implies it.",
)  # fmt: skip
@click.option(
    "--data", metavar="NAME|FILE",
    help="Measure data first: a data set, with parameters as in "
    "synthetic_classification:num_classes=3, a stored data set, or the data of a job file.",
)  # fmt: skip
@click.option(
    "--target", metavar="COLUMN",
    help="The column to predict of a stored data set; not needed of images.",
)  # fmt: skip
@_fact_options
@click.option("--yaml", "as_yaml", is_flag=True, help="Print a loss as part of a job file.")
@click.option(
    "--rank", default=1, show_default=True, metavar="N", type=click.IntRange(min=1),
    help="The rank of the loss that --yaml prints.",
)  # fmt: skip
@json_option
@click.pass_obj
def recommend(
    session: Session, /, task: str | None, data: str | None, target: str | None,
    as_yaml: bool, rank: int, as_json: bool, **options: Any,
) -> None:  # fmt: skip
    """Recommend losses for a task, given facts about its data.

    The best loss comes first, with the reason. Leave out facts that you do not know. Facts that do
    not affect the choice for the task are ignored with a note. With --data, missing facts are
    measured on the training split, on this machine.
    """
    named = _given(options)
    look, known = None, named
    if target is not None and data is None:
        raise click.UsageError("--target needs --data NAME, a stored data set")
    if data is not None:
        from talweg.client.cli.commands.datasets import measure

        to_facts(None, named)  # Invalid facts are refused before the data are read.
        look = measure.look(session, data, task, target)
        task = look.task
        known, _ = spec.facts_measured(look.measurements, named)
    if task is None:
        raise click.UsageError("Missing option '--task' (or '--data', which may imply the task)")
    facts, kind = to_facts(None, known), task
    response = ask_or_know(
        session, lambda client: client.recommend(kind, facts), lambda: _known_here(kind, facts)
    )
    if as_json:
        _print_json(response, look, named)
    elif as_yaml:
        _print_yaml(response, rank, look, named)
    else:
        _print_table(response, look, named)
    for fact in response.ignored:
        note(f"{fact.name} was not used: {fact.reason}")
    if not facts.ListFields() and not as_json:
        names = ", ".join(f"--{fact.name.replace('_', '-')}" for fact in spec.facts(task))
        note(f"give facts for better recommendations: {names}")


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """Return the facts of the command line in JSON form."""
    types = {fact.name: fact.type for fact in spec.facts()}
    return {
        name: value if value is True else _value(types[name], value)
        for name, value in options.items()
        if value is not None and value is not False
    }


def _value(kind: str, text: str) -> Any:
    """Parse a value; one of a wrong type stays text and is refused with the others."""
    if kind.startswith(_LIST):
        return [_value(kind.removeprefix(_LIST), part.strip()) for part in text.split(",")]
    if kind == _CHOICE:
        return text
    try:
        return float(text)
    except ValueError:
        return text


def _known_here(task: str, facts: ProblemFacts) -> RecommendLossResponse:
    try:
        return spec.recommend(task, facts)
    except spec.SpecError as error:
        raise InvalidRequest(violations=error.violations, reason="INVALID_REQUEST") from error


def _print_json(
    response: RecommendLossResponse, look: "Look | None", named: dict[str, Any]
) -> None:
    value = spec.to_dict(response)
    if look is not None:
        from talweg.client.cli.commands.datasets import measure

        value = {"task": look.task, "measured": measure.as_json(look, named), **value}
    print_json(value)


def _print_yaml(
    response: RecommendLossResponse, rank: int, look: "Look | None", named: dict[str, Any]
) -> None:
    ranked = response.recommendations
    if rank > len(ranked):
        raise click.UsageError(f"--rank must be <= {len(ranked)}, but got {rank}")
    chosen = ranked[rank - 1]
    part = JobSpec(loss=chosen.loss)
    if chosen.HasField("task"):
        part.task.CopyFrom(chosen.task)
    texts = [chosen.reason, chosen.caution, _for_evaluate(chosen)]
    if look is not None:
        from talweg.client.cli.commands.datasets import measure

        if not chosen.only_evaluated:
            # With the parameters of the task, the split and the preprocessing.
            part.MergeFrom(look.spec)
            part.task.MergeFrom(chosen.task)
            measure.fit_heads(part)
        texts[:0] = measure.lines(look, named)
    for text in texts:
        for line in textwrap.wrap(text, _WIDTH, break_long_words=False):
            say(f"# {line}")
    say(spec.to_yaml(part), end="")


def _print_table(
    response: RecommendLossResponse, look: "Look | None", named: dict[str, Any]
) -> None:
    from rich.table import Table
    from rich.text import Text

    ranked = response.recommendations
    alone = {_for_evaluate(each) for each in ranked}
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("", justify="right")
    table.add_column("LOSS", max_width=48)
    table.add_column("WHY")
    for index, each in enumerate(ranked):
        why = [each.reason]
        if each.caution:
            why.append(f"But: {each.caution}")
        if each.only_evaluated and len(alone) > 1:
            why.append(_for_evaluate(each))
        table.add_row(str(index + 1), Text(spec.label(each.loss)), Text("\n".join(why)))
    out = console()
    if look is not None:
        from talweg.client.cli.commands.datasets import measure

        for line in measure.lines(look, named):
            out.print(Text(line))
        out.print()
    out.print(table)
    notes = [*response.notes, *(alone - {""} if len(alone) == 1 else ())]
    if notes:
        out.print()
    for text in notes:
        out.print(Text(text))


def _for_evaluate(each: LossRecommendation) -> str:
    return each.only_evaluated and f"For evaluate only: {each.only_evaluated}."
