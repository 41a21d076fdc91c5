"""`talweg init`: a first job file for a file of data."""

import math
import os
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from talweg import spec
from talweg.client import InvalidRequest
from talweg.client.cli._common import Session, note, say
from talweg.spec import Violation
from talweg.spec.spelling import nearest
from talweg.spec.stored import (
    PARTS,
    is_like_id,
    measured_in,
    part_named,
    roles_of,
    split_column,
    task_for,
)
from talweg.v1.datasets_pb2 import StoredData
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.stored_datasets_pb2 import DataColumn

if TYPE_CHECKING:
    from talweg.client import StoredDataset
    from talweg.v1.recommendations_pb2 import LossRecommendation

_WIDTH = 96
# About so many optimizer steps, within bounds on the epochs.
_STEPS, _MIN_EPOCHS, _MAX_EPOCHS = 3000, 10, 100
_BATCH = 32
_TRAINING_SHARE = 0.6
_MOST_NAMED = 20
# What is predicted of each image, by the array that holds it; the spec need not name it.
_TASKS_OF_ARRAYS = {"mask": "segmentation", "boxes": "detection"}
_MODELS = {"segmentation": "unet", "detection": "detector"}
_STRIDES = (4, 2, 1)


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
        column = _target(stored, target)
        job = _job(stored, column, _relative(file, output), task)
        measured = measured_in(column, spec.task_kind(job), stored.num_samples)
        facts, _ = spec.facts_measured(measured, {})
        best = client.recommend(spec.kind(job.task)[0], **facts).recommendations[0]
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


def _target(stored: "StoredDataset", name: str | None) -> DataColumn:
    columns = {column.name: column for column in stored.columns}
    if name is None:  # A folder of images has one of them.
        name = next((each for each in ("label", *_TASKS_OF_ARRAYS) if each in columns), None)
    if name in columns:
        return columns[name]
    named = ", ".join(list(columns)[:_MOST_NAMED])
    if name is None:
        raise click.UsageError(f"Missing option '--target': one of {named}")
    raise InvalidRequest(violations=[Violation("target", name, named, nearest(name, columns))])


def _job(stored: "StoredDataset", target: DataColumn, file: str, task: str | None) -> JobSpec:
    """Return the job but for its loss."""
    of_array = _TASKS_OF_ARRAYS.get(target.name) if target.shape else None
    name = task or of_array or task_for(target)
    job = spec.from_dict({"task": name})
    job.dataset.file.path = file
    others = [column for column in stored.columns if column.name != target.name]
    ids = [column.name for column in others if _is_id(column, stored.num_samples)]
    if of_array is None:
        job.dataset.file.target = target.name
    if split := split_column(stored.message):
        job.dataset.file.split = split
        _leave_out_missing_parts(job, stored, split)
    if ids:
        job.dataset.file.id = ids[0]
    # Text is no input, and rows that are named by it must not be told apart by it.
    job.dataset.file.ignore.extend(
        column.name
        for column in others
        if (column.type == DataColumn.TEXT or column.name in ids) and column.name not in ids[:1]
    )
    job.model.CopyFrom(spec.from_dict({"model": _model(stored, name)}).model)
    batches = math.ceil(stored.num_samples * _TRAINING_SHARE / _BATCH)
    job.training.epochs = min(max(math.ceil(_STEPS / batches), _MIN_EPOCHS), _MAX_EPOCHS)
    return job


def _is_id(column: DataColumn, num_samples: int) -> bool:
    """Return whether a column is an id, and no input whose values happen to differ."""
    numbers_rows = column.type != DataColumn.INTEGER or column.min in (0, 1)
    return is_like_id(column, num_samples) and numbers_rows


def _model(stored: "StoredDataset", task: str) -> dict[str, dict[str, object]]:
    """Return a first model for what the data hold."""
    image = next((column for column in stored.columns if len(column.shape) == 3), None)
    if image is None:
        return {"mlp": {"hidden": [64, 64]}}
    if task == "detection":
        _, height, width = image.shape
        stride = next(each for each in _STRIDES if height % each == width % each == 0)
        return {"detector": {"stride": stride}}
    return {_MODELS.get(task, "convnet"): {}}


def _leave_out_missing_parts(job: JobSpec, stored: "StoredDataset", name: str) -> None:
    column = next(column for column in stored.columns if column.name == name)
    present = {part_named(each.value) for each in column.values if each.count}
    for part in PARTS:
        if part not in present:
            setattr(job.split, part, 0)


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
        yield from _comment("Text is left out. Categories: read: {categories: [COLUMN]}.")
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
