"""`talweg pause` and `talweg resume`."""

from collections.abc import Sequence

import click

from talweg.client import JobState
from talweg.client.cli._common import Session, json_option
from talweg.client.cli._selection import names_of_open, targets_or_filter
from talweg.client.cli._targets import Target
from talweg.client.cli.commands.control import for_each


@click.command()
@targets_or_filter
@click.option("--reason", default="", help="The reason, for the record.")
@json_option
@click.pass_obj
def pause(
    session: Session,
    targets: Sequence[str],
    filter: str,
    states: Sequence[str],
    experiment: str | None,
    reason: str,
    as_json: bool,
) -> int:
    """Pause jobs and sweeps until they are resumed, and free their workers.

    A running job writes a checkpoint first, so no progress is lost.
    """

    def tell(target: Target) -> str:
        paused = target.state == JobState.PAUSED
        return f"{target.id} is PAUSED" if paused else f"{target.id} is being paused"

    with session.client() as client:
        names = names_of_open(client, targets, filter=filter, states=states, experiment=experiment)
        return for_each(client, names, lambda target: target.pause(reason), tell, as_json=as_json)


@click.command()
@targets_or_filter
@json_option
@click.pass_obj
def resume(
    session: Session,
    targets: Sequence[str],
    filter: str,
    states: Sequence[str],
    experiment: str | None,
    as_json: bool,
) -> int:
    """Resume paused jobs from their checkpoints, and paused sweeps."""
    with session.client() as client:
        names = names_of_open(
            client,
            targets,
            filter=filter,
            states=states,
            experiment=experiment,
            state=JobState.PAUSED,
        )
        return for_each(
            client,
            names,
            lambda target: target.resume(),
            lambda target: f"{target.id} is {target.state}",
            as_json=as_json,
        )
