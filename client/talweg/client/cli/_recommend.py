"""`talweg recommend`."""

from __future__ import annotations

import textwrap
from typing import Any

import click

from talweg import spec
from talweg.client import InvalidRequest
from talweg.client._facts import to_facts
from talweg.client.cli._common import (
    F,
    Session,
    ask_or_know,
    console,
    json_option,
    note,
    print_json,
)
from talweg.v1.catalog_pb2 import Parameter
from talweg.v1.options_pb2 import TaskKind
from talweg.v1.recommendations_pb2 import (
    LossRecommendation,
    ProblemFacts,
    RecommendLossResponse,
)
from talweg.v1.spec_pb2 import JobSpec

_FLAG = "yes or no"
_CHOICE = "one of"
_LIST = "list of "
_WIDTH = 96
# All but the first, which stands for none.
_TASKS = tuple(name.lower() for name in TaskKind.keys()[1:])


def _fact_options(command: F) -> F:
    """Add an option for each fact, read from the descriptors as the server reads it."""
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
@click.option("--task", required=True, help=f"The task: {', '.join(_TASKS)}.")
@_fact_options
@click.option("--yaml", "as_yaml", is_flag=True, help="Print a loss as a part of a job file.")
@click.option(
    "--rank", default=1, show_default=True, metavar="N", type=click.IntRange(min=1),
    help="Which loss of the list --yaml prints.",
)  # fmt: skip
@json_option
@click.pass_obj
def recommend(
    session: Session, /, task: str, as_yaml: bool, rank: int, as_json: bool, **options: Any
) -> None:
    """Recommend losses for a task, given what is known about its data.

    The best comes first, with the reason. Facts that are left out are not known; those that do
    not bear on the task's choice are named and not used.
    """
    facts = to_facts(None, _given(options))
    response = ask_or_know(
        session, lambda client: client.recommend(task, facts), lambda: _known_here(task, facts)
    )
    if as_json:
        print_json(spec.to_dict(response))
    elif as_yaml:
        _print_yaml(task, response, rank)
    else:
        _print_table(response)
    for fact in response.ignored:
        note(f"{fact.name} was not used: {fact.reason}")
    if not facts.ListFields() and not as_json:
        names = ", ".join(f"--{fact.name.replace('_', '-')}" for fact in spec.facts(task))
        note(f"facts would tell more: {names}")


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """Give the facts that the command line holds, in their JSON form."""
    types = {fact.name: fact.type for fact in spec.facts()}
    return {
        name: value if value is True else _value(types[name], value)
        for name, value in options.items()
        if value is not None and value is not False
    }


def _value(kind: str, text: str) -> Any:
    """Read a value; what is none of its type stays text, to be refused with all else."""
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


def _print_yaml(task: str, response: RecommendLossResponse, rank: int) -> None:
    found = response.recommendations
    if rank > len(found):
        raise click.UsageError(f"--rank must be <= {len(found)}, but got {rank}")
    chosen = found[rank - 1]
    part = JobSpec(loss=chosen.loss)
    if not chosen.only_evaluated:
        getattr(part.task, task).SetInParent()
    for text in (chosen.reason, chosen.caution, _for_evaluate(chosen)):
        for line in textwrap.wrap(text, _WIDTH, break_long_words=False):
            click.echo(f"# {line}")
    click.echo(spec.to_yaml(part), nl=False)


def _print_table(response: RecommendLossResponse) -> None:
    from rich.table import Table
    from rich.text import Text

    found = response.recommendations
    alone = {_for_evaluate(each) for each in found}
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("", justify="right")
    table.add_column("LOSS", max_width=48)
    table.add_column("WHY")
    for index, each in enumerate(found):
        why = [each.reason]
        if each.caution:
            why.append(f"But: {each.caution}")
        if each.only_evaluated and len(alone) > 1:
            why.append(_for_evaluate(each))
        table.add_row(str(index + 1), Text(spec.label(each.loss)), Text("\n".join(why)))
    out = console()
    out.print(table)
    notes = [*response.notes, *(alone - {""} if len(alone) == 1 else ())]
    if notes:
        out.print()
    for text in notes:
        out.print(Text(text))


def _for_evaluate(each: LossRecommendation) -> str:
    return each.only_evaluated and f"For evaluate alone: {each.only_evaluated}."
