"""`talweg pause` and `talweg resume`."""

from collections.abc import Sequence

import click

from talweg.client import Job, JobState
from talweg.client.cli._common import Session, json_option
from talweg.client.cli._selection import jobs_or_filter, names_of_open
from talweg.client.cli.commands.control import for_each


@click.command()
@jobs_or_filter
@click.option("--reason", default="", help="The reason, for the record.")
@json_option
@click.pass_obj
def pause(
    session: Session,
    jobs: Sequence[str],
    filter: str,
    states: Sequence[str],
    experiment: str | None,
    reason: str,
    as_json: bool,
) -> int:
    """Pause jobs until they are resumed, and free their workers.

    A running job writes a checkpoint first, so no progress is lost.
    """

    def tell(job: Job) -> str:
        paused = job.state is JobState.PAUSED
        return f"{job.id} is PAUSED" if paused else f"{job.id} is being paused"

    with session.client() as client:
        names = names_of_open(client, jobs, filter=filter, states=states, experiment=experiment)
        return for_each(client, names, lambda job: job.pause(reason), tell, as_json=as_json)


@click.command()
@jobs_or_filter
@json_option
@click.pass_obj
def resume(
    session: Session,
    jobs: Sequence[str],
    filter: str,
    states: Sequence[str],
    experiment: str | None,
    as_json: bool,
) -> int:
    """Resume paused jobs from their checkpoints."""
    with session.client() as client:
        names = names_of_open(
            client,
            jobs,
            filter=filter,
            states=states,
            experiment=experiment,
            state=JobState.PAUSED,
        )
        return for_each(
            client,
            names,
            lambda job: job.resume(),
            lambda job: f"{job.id} is {job.state}",
            as_json=as_json,
        )
