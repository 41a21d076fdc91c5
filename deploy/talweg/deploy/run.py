"""Run `talweg up` after its arguments have been parsed."""

import sys
from dataclasses import replace
from pathlib import Path

import click

from talweg.client import InvalidSpec, read_jobs
from talweg.deploy.errors import DeployError
from talweg.deploy.settings import Settings
from talweg.deploy.stack import Options, Stack

# The status of `talweg submit` for this.
WRONG_SPEC = 2


def run(
    *,
    data: Path | None,
    port: int | None,
    submit: Path | None,
    once: bool,
    workers: int | None = None,
) -> int:
    """Run a stack until it is stopped.

    Args:
        data: The data folder; that of the settings if None.
        port: The port of the gRPC server; None for the first free one from 7070 on.
        submit: A job file to submit, or None.
        once: Stop when its jobs have ended.
        workers: How many workers; one per GPU, or one on the CPU, if None.

    Returns:
        The exit status: 0 success; 1 a job did not end as SUCCEEDED, or the stack could not be
        started; 2 the job file is invalid.

    Raises:
        click.UsageError: `once` without `submit`.
    """
    if once and submit is None:
        raise click.UsageError("--once needs --submit")
    settings = Settings.from_env()
    if data is not None:
        settings = replace(settings, data=data)
    follow: tuple[str, ...] = ()
    if submit is not None:
        try:
            read_jobs(submit)
        except (InvalidSpec, OSError) as error:
            return _fail(error, WRONG_SPEC)
        follow = (sys.executable, "-P", "-m", "talweg.deploy.batch", str(submit.absolute()))
        follow += ("--once",) if once else ()
    options = Options(port=port, follow=follow, once=once, workers=workers)
    try:
        return Stack(settings, options, click.echo).run()
    except (DeployError, OSError) as error:
        return _fail(error, 1)


def _fail(error: Exception, status: int) -> int:
    click.echo(f"talweg up: {error}", err=True)
    return status
