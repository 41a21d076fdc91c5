"""`talweg project`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from talweg.client.cli._common import Session, console, json_option, note, print_json

if TYPE_CHECKING:
    from talweg.v1.identity_pb2 import Project


@click.group()
def project() -> None:
    """List projects, and set their quotas. It takes an admin."""


@project.command("list")
@json_option
@click.pass_obj
def list_(session: Session, as_json: bool) -> None:
    """List the projects that you administer: what they have, and what they may have."""
    from talweg.spec import to_dict

    with session.client() as client:
        listed = client.projects()
    if as_json:
        print_json([to_dict(each) for each in listed])
    elif not listed:
        note("there are no projects")
    else:
        _print(listed)


@project.command("set")
@click.argument("name")
@click.option("--open-jobs", type=click.IntRange(0), help="Jobs that wait, run or are paused.")
@click.option("--running-jobs", type=click.IntRange(0), help="Jobs that run.")
@click.option("--stored-bytes", type=click.IntRange(0), help="Bytes of stored data sets.")
@click.option("--gpu-hours", type=click.FloatRange(0), help="GPU hours in 30 days.")
@json_option
@click.pass_obj
def set_(
    session: Session,
    name: str,
    open_jobs: int | None,
    running_jobs: int | None,
    stored_bytes: int | None,
    gpu_hours: float | None,
    as_json: bool,
) -> None:
    """Set the quotas of a project, all of them: what is not given has no bound."""
    from talweg.spec import to_dict

    with session.client() as client:
        changed = client.update_project(
            name,
            max_open_jobs=open_jobs,
            max_running_jobs=running_jobs,
            max_stored_bytes=stored_bytes,
            max_gpu_hours=gpu_hours,
        )
    if as_json:
        print_json(to_dict(changed))
    else:
        _print([changed])


def _print(projects: "Sequence[Project]") -> None:
    from rich.text import Text

    from talweg.client.cli.tables import Column, fitted

    rows = []
    for each in projects:
        bounds = {field.name: value for field, value in each.quotas.ListFields()}
        cells = [Text(each.name)]
        for have, bound in (
            (each.open_jobs, "max_open_jobs"),
            (each.running_jobs, "max_running_jobs"),
            (each.stored_bytes, "max_stored_bytes"),
            (round(each.gpu_hours, 1), "max_gpu_hours"),
        ):
            most = f" of {bounds[bound]:,}" if bound in bounds else ""
            cells.append(Text(f"{have:,}{most}"))
        rows.append(tuple(cells))
    out = console()
    names = ("PROJECT", "OPEN JOBS", "RUNNING", "STORED BYTES", "GPU HOURS")
    out.print(fitted([Column(name) for name in names], rows, out.width))
