"""`talweg init`: a first job file for a file of data."""

import os
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from talweg import spec
from talweg.client.cli._common import Session, note, say
from talweg.client.data.first_job import check_inputs, first_job, target_column
from talweg.spec.stored import measured_in, roles_of
from talweg.v1.datasets_pb2 import StoredData
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.stored_datasets_pb2 import DataColumn

if TYPE_CHECKING:
    from talweg.client import StoredDataset
    from talweg.v1.recommendations_pb2 import LossRecommendation

_WIDTH = 96
_MOST_WARNINGS = 10


@click.command()
@click.argument("file", metavar="FILE", type=click.Path(exists=True))
@click.option(
    "--target", metavar="COLUMN", help="The column to predict. Of images: label, mask or boxes."
)
@click.option("--task", help="The task; by the target's values if absent.")
@click.option(
    "--output", "-o", metavar="FILE", default="job.yaml", show_default=True,
    type=click.Path(dir_okay=False, allow_dash=True), help="The job file; - is standard output.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Replace an existing job file.")
@click.pass_obj
def init(
    session: Session, file: str, target: str | None, task: str | None, output: str, force: bool
) -> None:
    """Write a first job file for a data file: task, model, length and a loss with its reason.

    The file is sent to the server to be read, and is not stored: `talweg submit` stores it.
    """
    if output != "-" and Path(output).exists() and not force:
        raise click.UsageError(f"{output} exists: choose another with -o, or replace it, --force")
    with session.client() as client:
        stored = client.upload(file, validate_only=True)
        column = target_column(stored, target)
        job = first_job(stored, column, task, file=_relative(file, output))
        check_inputs(job, stored, column)
        measured = measured_in(column, spec.task_kind(job), stored.num_samples)
        facts, _ = spec.facts_measured(measured, {})
        best = client.recommend(spec.kind(job.task)[0], **facts).recommendations[0]
    for warning in stored.warnings[:_MOST_WARNINGS]:
        note(f"warning: {warning}")
    if len(stored.warnings) > _MOST_WARNINGS:
        note(f"{len(stored.warnings) - _MOST_WARNINGS} more: talweg data add --dry-run {file}")
    job.loss.CopyFrom(best.loss)
    text = "\n".join(_lines(job, stored, column, [each.how for each in measured], best)) + "\n"
    if output == "-":
        say(text, end="")
    else:
        Path(output).write_text(text, encoding="utf-8")
        note(f"{output} is written; train it: talweg submit {output} --watch")


def _relative(file: str, output: str) -> str:
    """Return a file's path as its job file has it: relative to the folder of that."""
    if os.path.isabs(file) or output == "-":
        return file
    return os.path.relpath(file, Path(output).parent)


def _lines(
    job: JobSpec,
    stored: "StoredDataset",
    target: DataColumn,
    findings: list[str],
    best: "LossRecommendation",
) -> Iterator[str]:
    """Write the job file, with a comment before each choice."""
    parts = {
        part: spec.to_yaml(JobSpec(**{part: getattr(job, part)})).rstrip()
        for part in ("task", "dataset", "split", "model", "loss", "training")
    }
    yield from _comment(
        f"{stored.message.file_name}: {stored.num_samples:,} samples. The whole catalogue is in "
        "docs/catalogue.md; `talweg submit --dry-run` shows every default."
    )
    yield parts["task"]
    yield ""
    inputs, _ = roles_of(stored.message, _stored(job))
    names = [column.name for column in inputs.inputs]
    text = names[0] if len(names) == 1 else f"{len(names)} columns"
    yield from _comment(
        f"{target.name} is predicted from {text}. Further roles: id, group, time, split "
        "(docs/data_in_jobs.md)."
    )
    if job.dataset.file.split:
        yield from _comment(f"{job.dataset.file.split} names the part of each sample.")
    if job.dataset.file.ignore:
        yield from _comment(
            "Text and empty columns are left out. Categories: read: {categories: [COLUMN]}."
        )
    yield parts["dataset"]
    yield ""
    if job.HasField("split"):
        yield from _comment("Parts that no sample belongs to.")
        yield parts["split"]
        yield ""
    yield parts["model"]
    yield ""
    yield from _comment(f"{'; '.join(findings)}.")
    yield from _comment(f"{spec.label(job.loss)}: {best.reason}")
    if best.caution:
        yield from _comment(f"But: {best.caution}")
    yield parts["loss"]
    yield ""
    yield from _comment("Early stopping ends it sooner: early_stopping: {patience: 10}.")
    yield parts["training"]


def _stored(job: JobSpec) -> StoredData:
    roles = job.dataset.file
    return StoredData(target=roles.target, split=roles.split, ignore=roles.ignore, id=roles.id)


def _comment(text: str) -> Iterator[str]:
    for line in textwrap.wrap(text, _WIDTH - 2, break_long_words=False, break_on_hyphens=False):
        yield f"# {line}"
