"""`talweg workers`."""

import click

from talweg.client.cli._common import Session, console, json_option, note, print_json


@click.command()
@json_option
@click.pass_obj
def workers(session: Session, as_json: bool) -> None:
    """List the workers that answer: their queues, and what they do.

    A job with `resources.device: cuda` needs a worker of the queue "cuda"; all others run in
    "default". Start another worker with `talweg worker`.
    """
    from talweg.spec import to_dict

    with session.client() as client:
        listed = client.workers()
    if as_json:
        print_json([to_dict(worker) for worker in listed])
        return
    if not listed:
        note("no worker answers; start one with: talweg worker")
        return
    from rich.text import Text

    from talweg.client.cli.tables import Column, fitted

    rows = []
    for worker in listed:
        ids = ", ".join(job.removeprefix("jobs/") for job in worker.jobs)
        rows.append(
            (
                Text(worker.name),
                Text(", ".join(worker.queues)),
                Text("no jobs" if worker.problem else "running" if ids else "idle"),
                Text(ids),
            )
        )
    out = console()
    columns = (Column("WORKER"), Column("QUEUES"), Column("STATE"), Column("JOBS"))
    out.print(fitted(columns, rows, out.width))
    for worker in listed:
        if worker.problem:
            note(f"{worker.name} takes no jobs: {worker.problem}")
