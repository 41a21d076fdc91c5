"""`talweg metrics`."""

import csv
import sys
from collections.abc import Sequence

import click

from talweg.client.cli._common import Session, json_option, note, print_json
from talweg.client.cli._targets import find_jobs
from talweg.client.cli.completions import complete_jobs, complete_metrics


@click.command()
@click.argument("job", shell_complete=complete_jobs)
@click.argument("names", nargs=-1, metavar="[METRIC]...", shell_complete=complete_metrics)
@json_option
@click.pass_obj
def metrics(session: Session, job: str, names: Sequence[str], as_json: bool) -> None:
    """Print the recorded points of a job's metrics as CSV: step, metric, value.

    METRIC is a name, such as val/mae, or a prefix that ends in a slash, such as val/; all metrics
    by default. `talweg show` prints first, last and best values.
    """
    with session.client() as client:
        (measured,) = find_jobs(client, [job])
        points = measured.metrics(names, points=True).points
    rows = [(point.step, name, point.values[name]) for point in points for name in point.values]
    if as_json:
        print_json([{"step": step, "metric": name, "value": value} for step, name, value in rows])
        return
    if not rows:
        note(f"no points{' of ' + ', '.join(names) if names else ''} yet")
        return
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(("step", "metric", "value"))
    table.writerows(rows)
