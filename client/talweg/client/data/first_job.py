"""A first job for data of one's own: task, model and length by what the data hold."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from talweg import spec
from talweg.client._errors import InvalidRequest
from talweg.spec import Violation
from talweg.spec.spelling import nearest
from talweg.spec.stored import PARTS, is_like_id, part_named, split_column, task_for
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.stored_datasets_pb2 import DataColumn

if TYPE_CHECKING:
    from talweg.client.data._stored import StoredDataset

# About so many optimizer steps, within bounds on the epochs.
_STEPS, _MIN_EPOCHS, _MAX_EPOCHS = 3000, 10, 100
_BATCH = 32
_TRAINING_SHARE = 0.6
_MOST_NAMED = 20
# What is predicted of each image, by the array that holds it; the spec need not name it.
_TASKS_OF_ARRAYS = {"mask": "segmentation", "boxes": "detection"}
_MODELS = {"segmentation": "unet", "detection": "detector"}
_STRIDES = (4, 2, 1)


def target_column(stored: "StoredDataset", name: str | None) -> DataColumn:
    """Return the column to predict.

    Args:
        stored: The data.
        name: Its name; None for what is predicted of images.

    Raises:
        InvalidRequest: There is no such column, or none is named of a table.
    """
    columns = {column.name: column for column in stored.columns}
    if name is None:  # A folder of images has one of them.
        name = next((each for each in ("label", *_TASKS_OF_ARRAYS) if each in columns), None)
    if name in columns:
        return columns[name]
    named = ", ".join(list(columns)[:_MOST_NAMED])
    if name is None:
        raise InvalidRequest(violations=[Violation("target", "nothing", f"one of {named}")])
    raise InvalidRequest(violations=[Violation("target", name, named, nearest(name, columns))])


def first_job(
    stored: "StoredDataset", target: DataColumn, task: str | None = None, *, file: str = ""
) -> JobSpec:
    """Return a first job for data, but for its loss.

    Args:
        stored: The data.
        target: The column to predict.
        task: The task; by the target's values if None.
        file: The path by which the job names the data; by the stored version if empty.
    """
    of_array = _TASKS_OF_ARRAYS.get(target.name) if target.shape else None
    name = task or of_array or task_for(target)
    job = spec.from_dict({"task": name})
    data = job.dataset.file if file else job.dataset.stored
    if file:
        job.dataset.file.path = file
    else:
        job.dataset.stored.name = stored.version
    others = [column for column in stored.columns if column.name != target.name]
    ids = [column.name for column in others if _is_id(column, stored.num_samples)]
    if of_array is None:
        data.target = target.name
    if split := split_column(stored.message):
        data.split = split
        _leave_out_missing_parts(job, stored, split)
    if ids:
        data.id = ids[0]
    # Text is no input, and rows that are named by it must not be told apart by it.
    data.ignore.extend(
        column.name
        for column in others
        if (column.type == DataColumn.TEXT or column.name in ids or _is_empty(stored, column))
        and column.name not in ids[:1]
    )
    image = next((column.shape for column in stored.columns if len(column.shape) == 3), None)
    job.model.CopyFrom(spec.from_dict({"model": first_model(name, image)}).model)
    batches = math.ceil(stored.num_samples * _TRAINING_SHARE / _BATCH)
    job.training.epochs = min(max(math.ceil(_STEPS / batches), _MIN_EPOCHS), _MAX_EPOCHS)
    return job


def check_inputs(job: JobSpec, stored: "StoredDataset", target: DataColumn) -> None:
    """Check that a first job has something to predict from.

    Args:
        job: The job.
        stored: The data.
        target: The column to predict.

    Raises:
        InvalidRequest: No column is left.
    """
    data = job.dataset.file if job.dataset.HasField("file") else job.dataset.stored
    left_out = {target.name, data.id, data.split, *data.ignore}
    others = [column.name for column in stored.columns if column.name != target.name]
    if target.shape or not left_out.issuperset(others):
        return
    found = f"no column beside {target.name}"
    if others:
        names = ", ".join(others[:_MOST_NAMED])
        found += (
            f" that a model takes: {names} are text, empty, or as different in each row as ids"
        )
    raise InvalidRequest(
        violations=[Violation("inputs", found, "a column of numbers, dates or categories")]
    )


def first_model(task: str, image: Sequence[int] | None) -> dict[str, dict[str, object]]:
    """Return a first model for what the data hold, as a job file has it.

    Args:
        task: The task.
        image: Channels, height and width of the inputs; None of those that are no images.
    """
    if image is None:
        return {"mlp": {"hidden": [64, 64]}}
    if task == "detection":
        _, height, width = image
        stride = next(each for each in _STRIDES if height % each == width % each == 0)
        return {"detector": {"stride": stride}}
    return {_MODELS.get(task, "convnet"): {}}


def _is_empty(stored: "StoredDataset", column: DataColumn) -> bool:
    """Return whether a column has no value at all, which no job takes as an input."""
    return not column.shape and column.num_missing == stored.num_samples


def _is_id(column: DataColumn, num_samples: int) -> bool:
    """Return whether a column is an id, and no input whose values happen to differ."""
    numbers_rows = column.type != DataColumn.INTEGER or column.min in (0, 1)
    return is_like_id(column, num_samples) and numbers_rows


def _leave_out_missing_parts(job: JobSpec, stored: "StoredDataset", name: str) -> None:
    column = next(column for column in stored.columns if column.name == name)
    present = {part_named(each.value) for each in column.values if each.count}
    for part in PARTS:
        if part not in present:
            setattr(job.split, part, 0)
