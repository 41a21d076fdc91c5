"""`talweg sweeps`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from talweg.client import Sweep, SweepState
from talweg.client.cli._common import (
    Session,
    ago,
    console,
    json_option,
    note,
    print_json,
    style_of,
)
from talweg.client.cli._targets import target_json
from talweg.client.sweeps._progress import SweepProgress

if TYPE_CHECKING:
    from rich.table import Table


@click.command()
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice(list(SweepState), case_sensitive=False),
    help="Only sweeps in this state. Repeatable.",
)
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True)
@json_option
@click.pass_obj
def sweeps(session: Session, states: Sequence[SweepState], limit: int, as_json: bool) -> None:
    """List sweeps, the newest first."""
    with session.client() as client:
        # One more than is shown, to know whether there are more.
        listed = list(client.sweeps(states=states, limit=limit + 1))
        # Lists come without the best trials.
        shown = [sweep.refresh() for sweep in listed[:limit]]
    if as_json:
        print_json([target_json(sweep) for sweep in shown])
        return
    if not shown:
        note("no sweeps")
        return
    out = console()
    out.print(_table(shown, out.width))
    if len(listed) > limit:
        note(f"there are more sweeps; use --limit {limit * 10} to see them")


def _table(shown: Sequence[Sweep], width: int) -> "Table":
    from rich.text import Text

    from talweg.client.cli.tables import Column, fitted

    rows = []
    for sweep in shown:
        progress = SweepProgress(sweep.message)
        rows.append(
            (
                Text(sweep.id),
                Text(progress.state, style=style_of(progress.state)),
                Text(progress.trials_text.removesuffix(" trials")),
                Text(progress.best_value_text),
                Text(progress.title),
                Text(ago(sweep.message.create_time)),
                Text(sweep.message.tracking.url),
            )
        )
    columns = (
        Column("ID"),
        Column("STATE"),
        Column("TRIALS", right=True),
        Column("BEST", min_width=14, max_width=30),
        Column("NAME", min_width=16),
        Column("CREATED"),
        Column("SUMMARY", optional=True),
    )
    return fitted(columns, rows, width)
