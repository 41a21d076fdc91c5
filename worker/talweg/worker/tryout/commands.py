"""The subcommand `talweg loss`."""

from __future__ import annotations

from typing import BinaryIO

import click


@click.group()
def loss() -> None:
    """Try losses out, without a server."""


@loss.command()
@click.argument("file", type=click.File("rb"))
def check(file: BinaryIO) -> int:
    """Compute losses over lines of JSON, FILE or - for standard input.

    A line holds {"loss": …, "inputs": {NAME: numbers}}, and may hold "grad": true and a "dtype".
    For each line one is printed: {"line": …, "value": …, "grad": {NAME: …}} or
    {"line": …, "error": …}. The exit status is 1 where a line had an error.
    """
    # Imported here: PyTorch takes seconds, and --help need not wait for it.
    from talweg.worker.tryout.lines import answers

    failed = False
    for answer in answers(file):
        click.echo(answer.text)
        failed |= answer.failed
    return int(failed)
