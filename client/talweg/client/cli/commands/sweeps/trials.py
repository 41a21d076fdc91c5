"""`talweg trials`."""

from collections.abc import Sequence
from dataclasses import asdict

import click

from talweg.client import TrialState
from talweg.client.cli._common import Session, console, json_option, note, print_json
from talweg.client.cli._targets import find_sweep
from talweg.client.cli.commands.sweeps.tables import print_trials
from talweg.client.cli.completions import complete_sweeps


@click.command()
@click.argument("sweep", metavar="SWEEP", shell_complete=complete_sweeps)
@click.option("--best", is_flag=True, help="The best first, instead of by number.")
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice(list(TrialState), case_sensitive=False),
    help="Only trials in this state. Repeatable.",
)
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True)
@json_option
@click.pass_obj
def trials(
    session: Session,
    sweep: str,
    best: bool,
    states: Sequence[TrialState],
    limit: int,
    as_json: bool,
) -> None:
    """List the trials of a sweep that have begun: value, standard deviation and setting."""
    with session.client() as client:
        found = find_sweep(client, sweep)
        # One more than is shown, to know whether there are more.
        listed = list(found.trials(best=best, states=states, limit=limit + 1))
    shown = listed[:limit]
    if as_json:
        print_json([asdict(trial) for trial in shown])
        return
    if not shown:
        note("no trials yet" if not states else "no trials in these states")
        return
    print_trials(found.message.spec.objective.metric, shown, console())
    if len(listed) > limit:
        note(f"there are more trials; use --limit {limit * 10} to see them")
