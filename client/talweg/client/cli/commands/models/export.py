"""`talweg export`."""

from pathlib import Path

import click

from talweg.client.cli._common import Session, note
from talweg.client.cli._targets import find_jobs
from talweg.client.cli.completions import complete_jobs


@click.command()
@click.argument("job", shell_complete=complete_jobs)
@click.option("--onnx", is_flag=True, help="Write an ONNX file.")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="The file.",
)
@click.pass_obj
def export(session: Session, job: str, output: Path, onnx: bool) -> None:
    """Write the trained model of a job in the format of other programs.

    The ONNX file takes x, float32 and of any number of samples, as it comes from the data, and
    gives y: probabilities, numbers in the target's units, or boxes. Its outputs are compared with
    PyTorch's at 1, 2 and 7 samples before it is written. This needs talweg[onnx] here.
    """
    if not onnx:
        raise click.UsageError("Say which format: --onnx")
    with session.client() as client:
        (ended,) = find_jobs(client, [job])
        written = ended.export_onnx(output)
    note(
        f"{output}: x {_shape(written.input_shape)}, y {_shape(written.output_shape)}, within "
        f"{written.difference:.1e} of PyTorch"
    )


def _shape(shape: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, ('N', *shape)))})"
