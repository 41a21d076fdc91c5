"""`talweg replay`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from talweg.client import Job
from talweg.client._lines import number
from talweg.client.cli._common import Session, console, job_json, json_option, print_json, say
from talweg.client.cli._targets import find_jobs
from talweg.client.cli.commands.control import follow_or_detach
from talweg.client.cli.completions import complete_jobs
from talweg.client.cli.tables import Column, fitted
from talweg.v1.replay_pb2 import ReplayLayer, ReplayReport

if TYPE_CHECKING:
    from rich.console import Console

_MOST_ROWS = 10
_MOST_LAYERS = 30


def _row_numbers(
    context: click.Context, parameter: click.Parameter, values: Sequence[str]
) -> list[int]:
    """Read rows: ``17`` or ``17,23``, given once or several times."""
    texts = [text.strip() for value in values for text in value.split(",")]
    strange = next((text for text in texts if not (text.isascii() and text.isdigit())), None)
    if strange is not None:
        raise click.BadParameter(
            f"rows must look like 17 or 17,23, but got {strange!r}", context, parameter
        )
    return [int(text) for text in texts]


@click.command()
@click.argument("job", metavar="JOB", shell_complete=complete_jobs)
@click.option(
    "--step", type=click.IntRange(min=1), required=True, help="The optimizer step, from 1."
)
@click.option(
    "--without",
    multiple=True,
    callback=_row_numbers,
    metavar="ROWS",
    help="Also take the step without these rows of the data set, such as 17,23. Repeatable.",
)
@click.option("--detach", is_flag=True, help="Do not wait; `talweg show` prints the result later.")
@json_option
@click.pass_obj
def replay(
    session: Session, job: str, step: int, without: Sequence[int], detach: bool, as_json: bool
) -> int:
    """Replay an optimizer step of a job exactly, and show which rows and layers stand out.

    A worker restores the nearest checkpoint before the step and repeats the steps up to it. The
    job may be running or have ended; it stays as it is.
    """
    status = 0
    with session.client() as client:
        (original,) = find_jobs(client, [job])
        new = original.replay(step, without=without)
        if not detach:
            status = follow_or_detach(client, [new], stderr=True)
            new.refresh()
        recorded = _recorded(original, new.replayed)
    if as_json:
        print_json(job_json(new))
    elif new.replayed is not None:
        out = console()
        out.print()
        print_replay(out, new.replayed)
        if recorded:
            say(recorded)
    else:
        say(f"{new.id} replays step {step} of {original.id}")
    return status


def _recorded(original: Job, report: ReplayReport | None) -> str:
    """Compare the replayed losses with those in the record of the original job."""
    if report is None:
        return ""
    points = original.metrics(["train/loss"], points=True).points
    known = {point.step: point.values["train/loss"] for point in points}
    pairs = [(each.loss, known[each.step]) for each in report.history if each.step in known]
    if not pairs:
        return "The record holds no loss of the replayed steps to compare with."
    num_same = sum(replayed == loss for replayed, loss in pairs)
    if num_same == len(pairs):
        where = "the one recorded step" if num_same == 1 else f"all {num_same} recorded steps"
        return f"Equal to the record, bit for bit, at {where} that it replayed."
    return f"Differs from the record at {len(pairs) - num_same} of {len(pairs)} recorded steps."


def print_replay(out: "Console", report: ReplayReport) -> None:
    """Print what a replay has shown."""
    from talweg.spec import replay_lines

    for line in replay_lines(report):
        out.print(line, markup=False)
    _print_rows(out, report)
    _print_layers(out, report.layers)


def _print_rows(out: "Console", report: ReplayReport) -> None:
    if not report.rows:
        out.print("The loss has no values by row.")
        return
    compares = report.measure == ReplayReport.LEFT_OUT
    columns = [
        Column("ROW", right=True),
        Column("SAMPLE", right=True),
        Column("ADDS TO LOSS" if compares else "LOSS", right=True),
        Column("GRADIENT NORM", right=True),
    ]
    rows = [
        [
            str(row.row),
            str(row.sample),
            number(row.loss),
            number(row.gradient_norm) if row.HasField("gradient_norm") else "",
        ]
        for row in report.rows[:_MOST_ROWS]
    ]
    _print_table(out, columns, rows)
    left = report.num_rows - min(_MOST_ROWS, len(report.rows))
    if left > 0:
        out.print(f"and {left} more of {report.num_rows} rows", style="dim")


def _print_layers(out: "Console", layers: Sequence[ReplayLayer]) -> None:
    columns = [
        Column("LAYER", min_width=12),
        Column("OUTPUT MEAN", right=True),
        Column("SD", right=True, optional=True),
        Column("MAX", right=True),
        Column("ZEROS", right=True, optional=True),
        Column("BAD", right=True),
        Column("GRADIENT", right=True),
        Column("UPDATE", right=True),
    ]
    rows = [_layer_cells(layer) for layer in layers[:_MOST_LAYERS]]
    _print_table(out, columns, rows)
    if len(layers) > _MOST_LAYERS:
        out.print(f"and {len(layers) - _MOST_LAYERS} more layers", style="dim")


def _layer_cells(layer: ReplayLayer) -> list[str]:
    shown = layer.HasField("output_mean")
    update = layer.update_norm / layer.weight_norm if layer.weight_norm else None
    return [
        layer.name or "(model)",
        number(layer.output_mean) if shown else "",
        number(layer.output_sd) if shown else "",
        number(layer.output_max) if shown else "",
        f"{layer.output_zeros:.1%}" if shown else "",
        str(layer.output_bad) if layer.output_bad else "",
        number(layer.gradient_norm),
        "" if update is None else f"{update:.2%}",
    ]


def _print_table(out: "Console", columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    from rich.text import Text

    cells = [[Text(cell) for cell in row] for row in rows]
    out.print()
    out.print(fitted(columns, cells, out.width))
