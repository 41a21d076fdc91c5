"""`talweg plan`."""

from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from talweg.client import InvalidRequest, InvalidSpec, SweepState
from talweg.client._lines import duration, number
from talweg.client.cli import _problems
from talweg.client.cli._common import Session, console, json_option, note, print_json
from talweg.client.cli.commands.sweeps.watching import tell_detached
from talweg.client.sweeps._files import read_specs
from talweg.client.sweeps.planning import PILOT_SEEDS, SweepPlan, pilot_of, plan_of
from talweg.spec import Violation
from talweg.spec.sweeps import Plan
from talweg.v1.sweeps_pb2 import SweepSpec

if TYPE_CHECKING:
    from rich.table import Table

    from talweg.v1.sweeps_pb2 import Compared


@click.command()
@click.argument("file", metavar="FILE", type=click.Path(exists=True, dir_okay=False))
@click.option(
    "--set", "overrides", multiple=True, metavar="PATH=VALUE", help="Change the base. Repeatable."
)
@json_option
@click.pass_obj
def plan(session: Session, file: str, overrides: tuple[str, ...], as_json: bool) -> int:
    """Tell what the answer of a sweep costs: seeds and time for each comparison.

    A pilot trains one setting of each compared value with three seeds. From the noise of their
    differences follows how many seeds show a difference of the size of compare.margin, with a
    probability of 80%; from its jobs, how long that takes. Three seeds tell the noise roughly, so
    the number of seeds has an interval: in 80% of the cases what it takes lies within.
    """
    sweep_spec = read_specs(file, overrides=overrides)
    if not isinstance(sweep_spec, SweepSpec):
        hint = "docs/sweeps.md describes it"
        violation = Violation(file, "jobs", "a sweep file, which has base and space", hint)
        raise InvalidRequest(violations=[violation])
    with session.client() as client:
        whole = client.sweep(sweep_spec, validate_only=True)
        pilot = client.sweep(pilot_of(whole.spec))
        note(f"pilot {pilot.id}: {PILOT_SEEDS} seeds of each compared value")
        try:
            pilot.wait()
        except KeyboardInterrupt:
            tell_detached([pilot])
            return 130
        answered = pilot.answer()
        if pilot.state is not SweepState.SUCCEEDED or answered.comparison is None:
            note(f"the pilot has no result: {pilot.message.message or answered.text}")
            return _problems.JOB_NOT_SUCCEEDED
        if answered.comparison.answer is None or not answered.comparison.answer.baseline:
            raise InvalidSpec("the baseline has no result in the pilot", reason="INVALID_SPEC")
        jobs = {job.name: job for job in pilot.jobs()}
        workers = max(1, sum(not each.problem for each in client.workers()))
        searches = {each.label: each.num_trials for each in Plan(whole.spec).searches}
        found = plan_of(answered.comparison, jobs, whole.spec, searches, workers)
    if as_json:
        print_json(asdict(found))
        return 0
    out = console()
    out.print(_table(found, answered.comparison.metric, out.width))
    _tell(found, whole.spec.compare)
    return 0


def _table(found: SweepPlan, metric: str, width: int) -> "Table":
    from rich.text import Text

    from talweg.client.cli.tables import Column, fitted

    rows = []
    for each in found.values:
        is_baseline = each.sd is None
        seeds = "" if is_baseline else _range(each.seeds, each.seeds_low, each.seeds_high)
        rows.append(
            (
                Text(each.label),
                Text("baseline" if each.sd is None else number(each.sd)),
                Text(seeds),
                Text(_time(each.job_seconds)),
            )
        )
    columns = (
        Column("VALUE", min_width=16),
        Column(f"SD OF DIFFERENCES IN {metric.upper()}", right=True, min_width=18),
        Column("SEEDS NEEDED", right=True),
        Column("A JOB TAKES", right=True),
    )
    return fitted(columns, rows, width)


def _tell(found: SweepPlan, compare: "Compared") -> None:
    on = f"{found.num_workers} workers" if found.num_workers > 1 else "1 worker"
    note(f"the search takes about {_time(found.search_seconds)} on {on}")
    if found.seeds is None or found.final_seconds is None:
        note(
            f"how many seeds show a difference of {compare.margin} cannot be told from this pilot"
        )
        return
    if compare.HasField("decide"):
        num_seeds = f"decide.max_seeds: {compare.decide.max_seeds}"
    else:
        num_seeds = f"final_seeds: {compare.final_seeds}"
    high = "over 100,000" if found.seeds_high is None else f"{found.seeds_high:,}"
    note(
        f"about {found.seeds:,} fresh seeds show a difference of {compare.margin} in every "
        f"comparison, and take about {_time(found.final_seconds)} more; three seeds tell the "
        f"noise roughly: in 80% of the cases it takes {found.seeds_low:,} to {high}; the file has "
        f"{num_seeds}"
    )
    note(
        f"as the file is, it takes about {_time(found.file_seconds)}; with the line\n"
        f"  predicted: {{seconds: {max(found.file_seconds, 0.1):.3g}, seeds: {found.seeds}}}\n"
        "in it, the answer says how well that was predicted"
    )


def _range(seeds: int | None, low: int | None, high: int | None) -> str:
    """Say a number of seeds with its interval."""
    if seeds is None:
        return "unknown"
    return f"{seeds:,} ({low:,} to {'…' if high is None else f'{high:,}'})"


def _time(seconds: float) -> str:
    return duration(timedelta(seconds=seconds))
