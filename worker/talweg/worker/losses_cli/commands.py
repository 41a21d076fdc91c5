"""The subcommands `talweg loss` and `talweg losses plot`."""

from collections.abc import Sequence
from pathlib import Path
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
    from talweg.worker.losses_cli.lines import answers  # noqa: PLC0415 - torch; not for --help

    failed = False
    for answer in answers(file):
        click.echo(answer.text)
        failed |= answer.failed
    return int(failed)


@click.command()
@click.argument("losses", metavar="LOSS...", nargs=-1, required=True)
@click.option(
    "-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path),
    help="The picture's file: .png, .svg or .pdf.",
)  # fmt: skip
@click.option(
    "--over", type=click.Choice(["error", "logit", "probability"]),
    help="What to draw over; by the losses where left out.",
)  # fmt: skip
@click.option("--range", "bounds", nargs=2, type=float, help="Where the axis begins and ends.")
@click.option("--target", type=float, help="The target over an error (0) or a logit (1).")
def plot(
    losses: Sequence[str],
    output: Path,
    over: str | None,
    bounds: tuple[float, float] | None,
    target: float | None,
) -> None:
    """Draw losses as curves: value and gradient over prediction error, logit or probability.

    A LOSS is a name, a name and parameters (huber:delta=2) or what stands behind `loss:` in a job
    file ({sum: {terms: [{loss: mse}, {loss: mae}]}}). Losses of one picture share their axis.
    """
    from talweg.worker.losses_cli import (  # noqa: PLC0415 - torch, matplotlib; not for --help
        curves,
        picture,
        shorthand,
    )

    if output.suffix.lower() not in picture.SUFFIXES:
        known = ", ".join(picture.SUFFIXES)
        raise click.BadParameter(f"must end in {known}, but got {output.name}", param_hint="-o")
    specs = [shorthand.read(text) for text in losses]
    axis = curves.AXES[over] if over else None
    setting = curves.choose(specs, axis=axis, bounds=bounds, target=target)
    picture.save([curves.draw(one, setting) for one in specs], setting, output)
    click.echo(f"wrote {output}")
