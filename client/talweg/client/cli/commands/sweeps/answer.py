"""`talweg answer`."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from talweg.client import Sweep, SweepAnswer
from talweg.client.cli._common import Session, console, json_option, note, print_json, say
from talweg.client.cli._pages import link_shown
from talweg.client.cli._targets import find_sweep
from talweg.client.cli.commands.compare import print_comparison
from talweg.client.cli.commands.sweeps.tables import print_trials
from talweg.client.cli.completions import complete_sweeps

if TYPE_CHECKING:
    from rich.console import Console


@click.command()
@click.argument("sweep", metavar="SWEEP", shell_complete=complete_sweeps)
@json_option
@click.pass_obj
def answer(session: Session, sweep: str, as_json: bool) -> None:
    """Print what a sweep has shown: in words, as a table, and what to know about it.

    It may be asked while the sweep runs; the answer is provisional then. docs/sweeps.md explains
    what it says, docs/comparison.md the statistics.
    """
    with session.client() as client:
        found = find_sweep(client, sweep)
        answered = found.answer()
        if as_json:
            url = found.message.tracking.url
            print_json({"sweep": found.name, "tracking_url": url, **answer_json(answered)})
        else:
            print_answer(answered, console())
            print_summary(found)


def print_answer(answered: SweepAnswer, out: "Console") -> None:
    """Print the text and the tables of an answer, and its remarks to standard error."""
    from rich.text import Text

    if answered.text:
        out.print(Text(answered.text), soft_wrap=not out.is_terminal)
    if answered.comparison is not None:
        out.print()
        # The text has its verdicts.
        print_comparison(answered.comparison, out, verdicts=False)
    if answered.chosen:
        out.print()
        what = "Chosen on validation data" if answered.comparison is not None else "Best trial"
        out.print(Text(what, style="bold"))
        print_trials(answered.metric, answered.chosen, out)
    for remark in answered.remarks:
        note(remark)
    if answered.is_provisional:
        note("the answer is provisional: the sweep has not ended")


def print_summary(sweep: Sweep) -> None:
    """Print where the summary of a sweep is in MLflow, if it is there."""
    if url := sweep.message.tracking.url:
        say(f"\nSummary in MLflow: {link_shown(url)}")


def answer_json(answered: SweepAnswer) -> dict[str, Any]:
    """Return an answer in JSON form."""
    return asdict(answered)
