"""The command `talweg up`."""

import sys
from pathlib import Path

import click


@click.command()
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    help="Data folder; $TALWEG_DATA, or else .talweg, where not given.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="Port of the gRPC server; the first free one from 7070 on where not given, 0 for any.",
)
@click.option(
    "--submit",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Submit this job file once ready, and show its progress and results.",
)
@click.option("--once", is_flag=True, help="With --submit: stop when its jobs have ended.")
def up(data: Path | None, port: int | None, submit: Path | None, *, once: bool) -> None:
    """Start everything on this machine: broker, server, workers, MLflow.

    All data lies in one folder, all ports are on loopback, and Ctrl-C stops every service. Started
    again in the same folder, it finds all jobs and runs of before. With --once, the exit status
    is 0 only if every job succeeded.
    """
    from talweg.deploy.run import run  # noqa: PLC0415 - help is to come at once

    sys.exit(run(data=data, port=port, submit=submit, once=once))
