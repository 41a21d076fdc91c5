"""`talweg down`."""

import os
import signal
import subprocess
import time
from pathlib import Path

import click

from talweg.client._address import LocalStack, local_stacks
from talweg.client.cli._common import note, say

_PERIOD_SECONDS = 0.1


@click.command()
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    help="The data folder of the stack. Default: the stack that commands find.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    help="Seconds to wait for its end.",
)
def down(data: Path | None, timeout: float) -> int:
    """Stop the stack that `talweg up` has started on this machine.

    Running jobs write a checkpoint and go on from it after the next `talweg up`.
    """
    stacks = [
        stack
        for stack in local_stacks()
        if data is None or Path(stack.data).absolute() == data.absolute()
    ]
    if not stacks:
        where = f" with the data folder {data}" if data else ""
        note(f"no stack{where} runs on this machine")
        return 0
    stack = stacks[0]
    if not _is_talweg(stack.pid):
        raise click.ClickException(
            f"process {stack.pid}, which stack.json names, is not a stack's: nothing was stopped"
        )
    os.kill(stack.pid, signal.SIGTERM)
    if not _has_ended(stack, timeout):
        raise click.ClickException(
            f"the stack (process {stack.pid}) has not ended within {timeout:g} s; it goes on "
            "ending. See logs/up.log in its data folder"
        )
    say(f"stopped the stack at {stack.server}")
    return 0


def _is_talweg(pid: int) -> bool:
    """Return whether a process is of `talweg up`: its number may be another's by now."""
    done = subprocess.run(
        ["ps", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    words = done.stdout.split()
    return "up" in words and any("talweg" in word for word in words)


def _has_ended(stack: LocalStack, timeout: float) -> bool:
    until = time.monotonic() + timeout
    while any(each.pid == stack.pid for each in local_stacks()):
        if time.monotonic() > until:
            return False
        time.sleep(_PERIOD_SECONDS)
    return True
