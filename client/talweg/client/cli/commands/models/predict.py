"""`talweg predict`."""

from pathlib import Path

import click

from talweg.client.cli._common import Session, find_jobs, note
from talweg.client.cli.completions import complete_jobs

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("job", shell_complete=complete_jobs)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "-o", "--output", metavar="OUT", type=_FILE, required=True, help="Where predictions go."
)
@click.option("--id", "id_column", metavar="COLUMN", default="", help="A column that is copied.")
@click.pass_obj
def predict(session: Session, job: str, file: Path, output: Path, id_column: str) -> None:
    """Predict with the trained model of a job for the rows of a file.

    FILE and OUT are .csv, .tsv, .parquet or .npz; of an npz file the array x is read, or its only
    one. A table needs the columns that the model reads, in any order. OUT gets a row per row:
    prediction, and the probability of each class. This computes here, with PyTorch.
    """
    with session.client() as client:
        (ended,) = find_jobs(client, [job])
        model = ended.model()
    count = model.predict_file(file, output, id_column=id_column)
    note(f"{count} predictions in {output}")
