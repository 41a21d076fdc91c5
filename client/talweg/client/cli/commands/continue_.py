"""`talweg continue`."""

from collections.abc import Sequence

import click

from talweg.client.cli._common import Session, job_json, json_option, print_json, say
from talweg.client.cli._targets import find_jobs
from talweg.client.cli.commands.control import follow_or_detach
from talweg.client.cli.commands.submit import tell_warnings
from talweg.client.cli.completions import complete_jobs


@click.command("continue")
@click.argument("job", metavar="JOB", shell_complete=complete_jobs)
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Change a setting, such as training.epochs=40. Repeatable.",
)
@click.option(
    "--step",
    type=click.IntRange(min=1),
    help="Start from the checkpoint of this step. Default: the last checkpoint.",
)
@click.option("--watch", is_flag=True, help="Follow the new job until it ends.")
@json_option
@click.pass_obj
def continue_(
    session: Session,
    job: str,
    changes: Sequence[str],
    step: int | None,
    watch: bool,
    as_json: bool,
) -> int:
    """Continue an ended job from a checkpoint, as a new job with changed settings.

    The length of the training must change. Task, data, model, loss, seed and batch sizes stay.
    Other settings, such as the learning rate, may change.
    """
    status = 0
    with session.client() as client:
        (parent,) = find_jobs(client, [job])
        new = parent.continue_(*changes, step=step)
        tell_warnings([new])
        if watch:
            status = follow_or_detach(client, [new], stderr=as_json)
            new.refresh()
        if as_json:
            print_json(job_json(new))
        elif not watch:
            say(f"{new.id} continues {parent.id} from step {new.spec.continued_from.step}")
    return status
