"""What `talweg show` prints of a sweep."""

from typing import TYPE_CHECKING

from talweg.client import Sweep
from talweg.client._lines import duration
from talweg.client.cli._common import ago, moment, say, style_of
from talweg.client.cli._pages import link_shown
from talweg.client.cli.commands.sweeps.tables import print_trials
from talweg.client.sweeps._progress import SweepProgress
from talweg.v1.sweeps_pb2 import Sweep as SweepMessage

if TYPE_CHECKING:
    from rich.console import Console

_MOST_TRIALS = 10


def print_sweep(sweep: Sweep, out: "Console") -> None:
    """Print a sweep: state, progress, the best trials and the spec."""
    from rich.text import Text

    from talweg.spec import to_yaml

    _print_facts(sweep, out)
    best = list(sweep.trials(best=True, limit=_MOST_TRIALS))
    if best:
        out.print()
        print_trials(sweep.message.spec.objective.metric, best, out)
        num_begun = sum(each.count for each in sweep.message.trials)
        if num_begun > len(best):
            more = f"and {num_begun - len(best)} more: talweg trials {sweep.id}"
            out.print(Text(more, style="dim"))
    out.print("\n[bold]Spec[/]")
    say(to_yaml(sweep.spec), end="")


def _print_facts(sweep: Sweep, out: "Console") -> None:
    from rich.table import Table
    from rich.text import Text

    message, progress = sweep.message, SweepProgress(sweep.message)
    jobs = ", ".join(f"{count} {state.lower()}" for state, count in progress.jobs.items())
    facts = [
        ("", message.message),
        ("experiment", message.spec.base.experiment),
        ("created", ago(message.create_time)),
        ("took", _took(message)),
        ("deadline", _deadline(message)),
        ("trials", ", ".join(progress.counts)),
        ("jobs", f"{jobs} of {message.num_jobs}" if jobs else f"none of {message.num_jobs}"),
        ("phase", "final jobs of the chosen settings" if message.in_final_phase else ""),
        ("MLflow", link_shown(message.tracking.url)),
    ]
    state = Text(progress.state, style=style_of(progress.state))
    out.print(Text(sweep.name, style="bold"), state, Text(progress.title))
    grid = Table.grid(padding=(0, 2, 0, 0))
    for title, text in facts:
        if text:
            grid.add_row(Text(title, style="dim"), Text(text, overflow="fold"))
    out.print(grid)


def _took(message: SweepMessage) -> str:
    if not message.HasField("end_time"):
        return ""
    return duration(moment(message.end_time) - moment(message.create_time))


def _deadline(message: SweepMessage) -> str:
    if not message.HasField("deadline") or message.HasField("end_time"):
        return ""
    return moment(message.deadline).astimezone().strftime("%Y-%m-%d %H:%M:%S")
