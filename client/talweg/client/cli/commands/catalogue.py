"""`talweg losses`, `tasks`, `models`, `datasets` and `optimizers`."""

from collections.abc import Callable, Sequence
from typing import Any

import click

from talweg.client import Client, NotFound
from talweg.client.cli._common import Session, ask_or_know, console, json_option, print_json
from talweg.client.cli.completions import complete_entries
from talweg.spec.spelling import nearest
from talweg.v1 import catalog_pb2, options_pb2

Entry = (
    catalog_pb2.LossEntry
    | catalog_pb2.TaskEntry
    | catalog_pb2.ModelEntry
    | catalog_pb2.DatasetEntry
    | catalog_pb2.OptimizerEntry
)


@click.command()
@click.argument("name", required=False, shell_complete=complete_entries("losses"))
@click.option(
    "--task",
    default="",
    shell_complete=complete_entries("tasks"),
    help="Only losses for this task, such as regression.",
)
@json_option
@click.pass_obj
def losses(session: Session, name: str | None, task: str, as_json: bool) -> None:
    """List the losses, or describe one; `talweg losses plot` draws them."""
    from talweg import spec

    entries = _entries(session, lambda c: c.losses(task), lambda: spec.losses(task or None))
    _print(entries, name, as_json, ("LOSS", "TASKS", "WHEN"), _loss_row)


@click.command()
@click.argument("name", required=False, shell_complete=complete_entries("tasks"))
@json_option
@click.pass_obj
def tasks(session: Session, name: str | None, as_json: bool) -> None:
    """List the tasks, or describe one."""
    from talweg import spec

    entries = _entries(session, Client.tasks, spec.tasks)
    _print(entries, name, as_json, ("TASK", "METRICS", "WHEN"), _task_row)


@click.command()
@click.argument("name", required=False, shell_complete=complete_entries("models"))
@json_option
@click.pass_obj
def models(session: Session, name: str | None, as_json: bool) -> None:
    """List the models, or describe one."""
    from talweg import spec

    entries = _entries(session, Client.models, spec.models)
    _print(entries, name, as_json, ("MODEL", "INPUT", "WHEN"), _model_row)


@click.command()
@click.argument("name", required=False, shell_complete=complete_entries("datasets"))
@json_option
@click.pass_obj
def datasets(session: Session, name: str | None, as_json: bool) -> None:
    """List the data sets, or describe one."""
    from talweg import spec

    entries = _entries(session, Client.datasets, spec.datasets)
    _print(entries, name, as_json, ("DATA SET", "TASKS", "CONTENT"), _dataset_row)


@click.command()
@click.argument("name", required=False, shell_complete=complete_entries("optimizers"))
@json_option
@click.pass_obj
def optimizers(session: Session, name: str | None, as_json: bool) -> None:
    """List the optimizers, or describe one."""
    from talweg import spec

    entries = _entries(session, Client.optimizers, spec.optimizers)
    header = ("OPTIMIZER", "USUAL LEARNING RATE UP TO", "WHEN")
    _print(entries, name, as_json, header, _optimizer_row)


def _entries(
    session: Session, ask: Callable[[Client], Sequence[Any]], local: Callable[[], Sequence[Any]]
) -> list[Entry]:
    """Ask the server, which may know more, or use the catalogue of the client."""
    return list(ask_or_know(session, ask, local))


def _print(
    entries: Sequence[Entry],
    name: str | None,
    as_json: bool,
    header: Sequence[str],
    row: Callable[[Any], Sequence[str]],
) -> None:
    from talweg.spec import to_dict

    if name is not None:
        chosen = _named(entries, name)
        if as_json:
            print_json(to_dict(chosen[0]) if len(chosen) == 1 else list(map(to_dict, chosen)))
            return
        for index, entry in enumerate(chosen):
            if index:
                console().print()
            _explain(entry, header, row(entry))
        return
    if as_json:
        print_json([to_dict(entry) for entry in entries])
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for index, column in enumerate(header):
        table.add_column(column, no_wrap=index == 0)
    for entry in entries:
        table.add_row(*(Text(cell) for cell in row(entry)))
    console().print(table)


def _named(entries: Sequence[Entry], name: str) -> list[Entry]:
    """Return the entry of a name; several where workers have different versions of a plug-in."""
    known = dict.fromkeys(entry.name for entry in entries)
    # A plug-in's own name will do where nothing else is called so.
    full = name if name in known else f"plugin:{name}"
    if full not in known:
        hint = nearest(name, known) or f"Known: {', '.join(known)}."
        raise NotFound(f"unknown name {name!r}. {hint}")
    return [entry for entry in entries if entry.name == full]


def _explain(entry: Entry, header: Sequence[str], row: Sequence[str]) -> None:
    from rich.table import Table
    from rich.text import Text

    out = console()
    out.print(Text(entry.name, style="bold"))
    out.print(Text(entry.description), end="\n\n")
    facts = Table.grid(padding=(0, 2, 0, 0))
    for title, text in [*zip(header[1:], row[1:], strict=True), *_more_facts(entry)]:
        if text:
            facts.add_row(Text(title.lower(), style="dim"), Text(text))
    out.print(facts)
    if not entry.parameters:
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", title_justify="left")
    for column in ("PARAMETER", "TYPE", "DEFAULT", "ALLOWED", ""):
        table.add_column(column)
    for parameter in entry.parameters:
        table.add_row(
            *(
                Text(cell)
                for cell in (
                    parameter.name,
                    parameter.type,
                    parameter.default or "none",
                    parameter.allowed,
                    parameter.description,
                )
            )
        )
    out.print()
    out.print(table)


def _more_facts(entry: Entry) -> list[tuple[str, str]]:
    return [*_facts(entry), *_origin(entry)]


def _origin(entry: Entry) -> list[tuple[str, str]]:
    """Say where a plug-in comes from."""
    if isinstance(entry, (catalog_pb2.TaskEntry, catalog_pb2.OptimizerEntry)):
        return []
    origin = entry.plugin
    return [
        ("package", f"{origin.package} {origin.version}".strip()),
        ("workers", ", ".join(origin.workers)),
        ("problem", origin.problem),
    ]


def _facts(entry: Entry) -> list[tuple[str, str]]:
    if isinstance(entry, catalog_pb2.LossEntry):
        return [
            ("inputs", ", ".join(entry.facts.inputs)),
            ("better", entry.facts.prefer),
            ("in jobs", entry.facts.only_evaluated and f"no: {entry.facts.only_evaluated}"),
            ("reference", entry.facts.reference),
        ]
    if isinstance(entry, catalog_pb2.TaskEntry):
        return [
            ("data", entry.facts.data),
            ("output", entry.facts.output),
            *((metric.name, metric.meaning) for metric in entry.facts.metrics),
            ("losses", ", ".join(entry.losses)),
        ]
    if isinstance(entry, catalog_pb2.DatasetEntry):
        shape = "×".join(str(size) for size in entry.facts.shape)
        return [
            ("samples", str(entry.facts.num_samples or "")),
            ("shape", shape),
            ("classes", str(entry.facts.num_classes or "")),
            ("reference", entry.facts.reference),
        ]
    return [("reference", entry.facts.reference)]


def _task_names(kinds: Sequence[int]) -> str:
    names: dict[int, str] = {number: name.lower() for name, number in options_pb2.TaskKind.items()}
    return ", ".join(names[kind] for kind in kinds)


def _loss_row(entry: catalog_pb2.LossEntry) -> Sequence[str]:
    return entry.name, _task_names(entry.facts.tasks), entry.facts.when


def _task_row(entry: catalog_pb2.TaskEntry) -> Sequence[str]:
    names = ", ".join(metric.name for metric in entry.facts.metrics)
    return entry.name, names, entry.facts.when


def _model_row(entry: catalog_pb2.ModelEntry) -> Sequence[str]:
    return entry.name, entry.facts.input, entry.facts.when


def _dataset_row(entry: catalog_pb2.DatasetEntry) -> Sequence[str]:
    return entry.name, _task_names(entry.facts.tasks), entry.facts.description


def _optimizer_row(entry: catalog_pb2.OptimizerEntry) -> Sequence[str]:
    return entry.name, f"{entry.facts.usual_rate_max:g}", entry.facts.when
