"""`talweg recommend --data`: find the data and measure them."""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol

import click

from talweg import spec
from talweg.client import InvalidRequest, InvalidSpec, NotFound, Unavailable, read_jobs
from talweg.client._files import MAX_FILE_BYTES, parse_jobs
from talweg.client.cli._common import Session
from talweg.client.cli._lazy import missing_extra
from talweg.client.data.first_job import first_job, target_column
from talweg.spec import Measured, SpecError, Violation
from talweg.spec.spelling import nearest
from talweg.spec.stored import is_dataset_name, measured_in, task_for
from talweg.v1.losses_pb2 import BceWithLogits, Loss
from talweg.v1.options_pb2 import GAN, MULTITASK, SELF_SUPERVISED, VAE, TaskKind
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.tasks_pb2 import Segmentation, Task

_MOST_NAMED = 20
_SUFFIXES = (".yaml", ".yml", ".json")
# The entry point of the worker package, which reads the data with PyTorch.
_OFFERS, _MEASURE = "talweg.offers", "measure"
# Tasks that learn no target of the data set, so the data set does not imply them.
_WITHOUT_TARGET = (SELF_SUPERVISED, GAN, VAE, MULTITASK)
# The parts of a spec about its data; the others may be missing.
_PARTS = ("task", "dataset", "split", "preprocessing")


class _Measure(Protocol):
    def __call__(self, spec: JobSpec, /) -> tuple[Measured, ...]: ...


@dataclass(frozen=True)
class Look:
    """The measurements on data."""

    name: str
    """The name of the data set in the catalogue."""
    spec: JobSpec
    """The requested task and data."""
    measurements: tuple[Measured, ...]
    """The measurements."""

    @property
    def task(self) -> str:
        """The task for which the data were measured."""
        return spec.kind(self.spec.task)[0]


def look(session: Session, data: str, task: str | None, target: str | None) -> Look:
    """Measure the training split of data; of a stored data set, read its description.

    Args:
        session: To ask the server for stored data sets.
        data: A data set of the catalogue, with parameters as in
            ``synthetic_classification:num_classes=3``, the name of a stored data set, or a job
            file; - is standard input.
        task: The task; None if the data imply it.
        target: The column to predict, of a stored data set; None for labels, masks or boxes of
            images.

    Raises:
        InvalidRequest: The data or the task are invalid.
        click.ClickException: The task is missing, or the worker package is not installed.
        OSError: The file cannot be read.
    """
    if target is not None:
        return _of_stored(session, data, task, target)
    if _may_be_stored(data) and (found := _of_images(session, data, task)) is not None:
        return found
    asked = _of_file(data) if _is_file(data) else _of_catalogue(data)
    _set_task(asked, task)
    try:
        filled = spec.fill(asked)
    except SpecError as error:
        raise _refused(error.violations) from error
    wrong = [each for each in spec.check(filled)[0] if each.field.partition(".")[0] in _PARTS]
    if wrong:
        raise _refused(wrong)
    return Look(spec.kind(asked.dataset)[0], asked, _measure()(filled))


def _may_be_stored(data: str) -> bool:
    """Return whether data are no file, and none of the catalogue by their name."""
    name = data.partition("@")[0]
    return not _is_file(data) and is_dataset_name(name) and name not in _catalogue()


def _of_images(session: Session, data: str, task: str | None) -> Look | None:
    """Look at stored data whose target needs no name: labels, masks or boxes of images.

    Raises:
        InvalidRequest: They need a name.
        Unavailable: The server is away, and the name is no misspelt one of the catalogue.
    """
    try:
        with session.client() as client:
            stored = client.stored_dataset(data)
    except NotFound:
        return None
    except Unavailable:
        if not nearest(data, _catalogue()):
            raise
        # That it is misspelt is told without a server.
        return None
    column = target_column(stored, None)
    job = first_job(stored, column, task)
    asked = JobSpec(task=job.task, dataset=job.dataset)
    measurements = measured_in(column, spec.task_kind(asked), stored.num_samples)
    return Look(stored.version, asked, measurements)


def _of_stored(session: Session, data: str, task: str | None, target: str) -> Look:
    with session.client() as client:
        stored = client.stored_dataset(data)
    columns = {column.name: column for column in stored.columns}
    if target not in columns:
        some = ", ".join(list(columns)[:_MOST_NAMED])
        raise _refused([Violation("target", repr(target), some, nearest(target, columns))])
    task = task or task_for(columns[target])
    asked = JobSpec()
    asked.dataset.stored.name, asked.dataset.stored.target = stored.version, target
    if task not in Task.DESCRIPTOR.fields_by_name:
        raise _refused([Violation("task", task, f"one of {', '.join(_tasks_of('stored'))}")])
    getattr(asked.task, task).SetInParent()
    measurements = measured_in(columns[target], spec.task_kind(asked), stored.num_samples)
    return Look(stored.version, asked, measurements)


def _is_file(data: str) -> bool:
    if data.partition(":")[0].strip() in _catalogue():
        return False
    return data == "-" or Path(data).suffix.lower() in _SUFFIXES or Path(data).is_file()


def _catalogue() -> set[str]:
    """Return the names of the catalogue's data sets."""
    return {entry.name for entry in spec.datasets()}


def _of_catalogue(data: str) -> JobSpec:
    try:
        name, settings = spec.read_shorthand(data)
        job = spec.override(
            {"dataset": {name: {}}}, [f"dataset.{name}.{setting}" for setting in settings]
        )
        return spec.from_dict(job)
    except SpecError as error:
        raise _refused(error.violations) from error


def _of_file(file: str) -> JobSpec:
    if file == "-":
        content = sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
        jobs = parse_jobs(content, source="standard input")
    else:
        jobs = read_jobs(file)
    parts = []
    for job in jobs:
        part = JobSpec()
        for name in _PARTS:
            if job.HasField(name):  # type: ignore[arg-type]
                getattr(part, name).CopyFrom(getattr(job, name))
        if part not in parts:
            parts.append(part)
    if len(parts) > 1:
        raise InvalidSpec(
            f"{file} has jobs with {len(parts)} different tasks or data; "
            "use a file whose jobs share them",
            reason="INVALID_SPEC",
        )
    if not parts[0].dataset.WhichOneof("kind"):
        names = ", ".join(entry.name for entry in spec.datasets())
        raise _refused([Violation("dataset", "nothing", f"one of {names}")])
    return parts[0]


def _set_task(asked: JobSpec, task: str | None) -> None:
    """Set the task to the named one, or to the only one of the data set."""
    name = spec.kind(asked.dataset)[0]
    if task is None and not asked.task.WhichOneof("kind"):
        task = task_of(name)
    if task is not None and asked.task.WhichOneof("kind") != task:
        if task not in Task.DESCRIPTOR.fields_by_name:
            fitting = _tasks_of(name)
            raise _refused(
                [Violation("task", task, f"one of {', '.join(fitting)}, the tasks of {name}")]
            )
        getattr(asked.task, task).SetInParent()
    if task == "multitask" and not asked.task.multitask.heads:
        raise click.UsageError("a multitask job has its heads in the job file: use --data FILE")


def task_of(name: str) -> str:
    """Return the only task that learns the target of a data set of the catalogue.

    Raises:
        click.UsageError: There are several.
    """
    taught = _tasks_of(name, but=_WITHOUT_TARGET)
    if len(taught) != 1:
        raise click.UsageError(
            f"{name} supports several tasks: choose one, --task {'|'.join(_tasks_of(name))}"
        )
    return taught[0]


def _tasks_of(name: str, *, but: tuple[TaskKind.ValueType, ...] = ()) -> list[str]:
    [entry] = [entry for entry in spec.datasets() if entry.name == name]
    return [TaskKind.Name(kind).lower() for kind in entry.facts.tasks if kind not in but]


def _refused(violations: Iterable[Violation]) -> InvalidRequest:
    return InvalidRequest(violations=tuple(violations), reason="INVALID_REQUEST")


def _measure() -> _Measure:
    [offer] = entry_points(group=_OFFERS, name=_MEASURE)
    try:
        measure: _Measure = offer.load()
    except ModuleNotFoundError as error:
        raise missing_extra("recommend --data", error, "worker") from error
    return measure


def fit_heads(job: JobSpec) -> None:
    """Give the heads of a multitask job with binary masks a binary loss."""
    for head in spec.heads(job):
        target = getattr(head.message, "target", Segmentation.classes)
        if head.loss is not None and target == Segmentation.foreground:
            head.loss.CopyFrom(spec.fill_message(Loss(bce_with_logits=BceWithLogits())))


def lines(look: Look, overrides: Mapping[str, Any]) -> list[str]:
    """Return the measurements as lines, with those that the command line overrides."""
    _, gave_way = spec.facts_measured(look.measurements, overrides)
    texts = [f"measured on the training split of {look.name} for {look.task}:"]
    for each in look.measurements:
        text = each.how
        if each.fact:
            text = f"{each.fact} {_plain(each.value)}: {text}"
        if each in gave_way:
            text += " (not used: overridden on the command line)"
        texts.append(f"  {text}")
    if len(look.measurements) == 0:
        texts.append("  nothing: no fact of this task can be measured")
    return texts


def as_json(look: Look, overrides: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the measurements in JSON form."""
    _, gave_way = spec.facts_measured(look.measurements, overrides)
    return [
        {"fact": each.fact, "value": each.value, "used": each not in gave_way, "how": each.how}
        if each.fact
        else {"how": each.how}
        for each in look.measurements
    ]


def _plain(value: object) -> str:
    if value is True:
        return "yes"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
