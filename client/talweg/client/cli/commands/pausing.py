"""`talweg pause` and `talweg resume`."""

from collections.abc import Sequence

import click

from talweg.client import Job, JobState
from talweg.client.cli._common import Session, json_option
from talweg.client.cli.commands.control import for_each
from talweg.client.cli.completions import complete_jobs


@click.command()
@click.argument("jobs", nargs=-1, required=True, metavar="JOB...", shell_complete=complete_jobs)
@click.option("--reason", default="", help="The reason, for the record.")
@json_option
@click.pass_obj
def pause(session: Session, jobs: Sequence[str], reason: str, as_json: bool) -> int:
    """Pause jobs until they are resumed, and free their workers.

    A running job writes a checkpoint first, so no progress is lost.
    """

    def tell(job: Job) -> str:
        paused = job.state is JobState.PAUSED
        return f"{job.id} is PAUSED" if paused else f"{job.id} is being paused"

    with session.client() as client:
        return for_each(client, jobs, lambda job: job.pause(reason), tell, as_json=as_json)


@click.command()
@click.argument("jobs", nargs=-1, required=True, metavar="JOB...", shell_complete=complete_jobs)
@json_option
@click.pass_obj
def resume(session: Session, jobs: Sequence[str], as_json: bool) -> int:
    """Resume paused jobs from their checkpoints."""
    with session.client() as client:
        return for_each(
            client,
            jobs,
            lambda job: job.resume(),
            lambda job: f"{job.id} is {job.state}",
            as_json=as_json,
        )
