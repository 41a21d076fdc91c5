"""`talweg predict`."""

import warnings
from pathlib import Path

import click

from talweg.client.cli._common import Session, note
from talweg.client.cli._targets import find_jobs
from talweg.client.cli.completions import complete_jobs

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("job", shell_complete=complete_jobs)
@click.argument("file", type=click.Path(exists=True, path_type=Path))
@click.option(
    "-o", "--output", metavar="OUT", type=_FILE, required=True, help="Where predictions go."
)
@click.option(
    "--id",
    "id_column",
    metavar="COLUMN",
    default="",
    help="A column that is copied; by default the data set's id.",
)
@click.option(
    "--remote",
    is_flag=True,
    help="Compute on a worker, without PyTorch: at most 1 MiB of rows, or 8 MiB of pictures.",
)
@click.pass_obj
def predict(
    session: Session, job: str, file: Path, output: Path, id_column: str, remote: bool
) -> None:
    """Predict with the trained model of a job for the rows of a file.

    FILE and OUT are .csv, .tsv, .parquet or .npz; of an npz file the array x is read, or its only
    one. FILE may also be a picture, or a folder or .zip of pictures, whose names OUT then has:
    boxes in a row each, and masks in a .zip, are in the pictures' own pixels. A table needs the
    columns that the model reads, in any order. OUT gets a row per row: prediction, and
    the probability of each class. Categories that training has not seen are taken as unknown, and
    named. This computes here, with PyTorch, or on a worker with --remote, for a quick look.
    """
    with session.client() as client, warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", UserWarning)
        (ended,) = find_jobs(client, [job])
        count = ended.predict_file(file, output, id_column=id_column, remote=remote)
    for each in said:
        if issubclass(each.category, UserWarning):
            note(f"{each.message}")
    note(f"{count} predictions in {output}")
