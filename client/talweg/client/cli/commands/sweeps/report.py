"""`talweg report`."""

from pathlib import Path

import click

from talweg.client import Client, Sweep
from talweg.client.cli._common import Session, note, say
from talweg.client.cli._targets import find_sweep
from talweg.client.cli.completions import complete_sweeps


@click.command()
@click.argument("sweep", metavar="SWEEP", shell_complete=complete_sweeps)
@click.option(
    "--output",
    "-o",
    metavar="FILE.html",
    type=click.Path(dir_okay=False, allow_dash=True),
    help="The page; - is standard output. Default: sweep-ID.html.",
)
@click.pass_obj
def report(session: Session, sweep: str, output: str | None) -> None:
    """Write the report of a sweep: one HTML page that opens offline.

    The verdict comes first, then the compared values with their intervals, convergence over the
    seeds, what the varied settings explain, how many trials diverged, and the trials.
    """
    with session.client() as client:
        found = find_sweep(client, sweep)
        path = output or f"sweep-{found.id}.html"
        text = rendered(client, found)
    if path == "-":
        say(text, end="")
    else:
        Path(path).write_text(text, encoding="utf-8")
        note(f"{path} is written")


def rendered(client: Client, sweep: Sweep) -> str:
    """Return the page of a sweep."""
    from talweg.client.sweeps.report import read, render

    return render(read(client, sweep))
