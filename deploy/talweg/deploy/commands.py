"""The command `talweg up`."""

import sys
from pathlib import Path

import click


@click.command()
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    help="Data folder. Default: $TALWEG_DATA, or .talweg.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="Port of the gRPC server; 0 for any. Default: the first free one from 7070 on.",
)
@click.option(
    "--submit",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Submit this job file when ready, and show its progress and results.",
)
@click.option("--once", is_flag=True, help="With --submit: stop when its jobs have ended.")
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    help="Number of workers. Default: one per GPU, or one on the CPU.",
)
def up(
    data: Path | None,
    port: int | None,
    submit: Path | None,
    workers: int | None,
    *,
    once: bool,
) -> None:
    """Start everything on this machine: broker, server, workers, MLflow.

    All data are in one folder, all ports on loopback. Ctrl-C stops every service. After a restart
    in the same folder, earlier jobs and runs are still there. With --once, the exit status is 0
    only if every job succeeded.
    """
    from talweg.deploy.run import run  # noqa: PLC0415 - for a fast --help

    sys.exit(run(data=data, port=port, submit=submit, once=once, workers=workers))
