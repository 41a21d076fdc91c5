"""`talweg study`."""

import re
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import click

from talweg import spec
from talweg.client import Client, InvalidRequest, NotFound, TalwegError, WaitTimeout
from talweg.client._lines import duration
from talweg.client.catalogue._facts import to_facts
from talweg.client.cli import _problems
from talweg.client.cli._common import Session, note, quoted, runs_url
from talweg.client.cli._pages import link_shown
from talweg.client.cli.commands.sweeps.report import rendered
from talweg.client.cli.commands.sweeps.watching import DETACHED, follow_sweeps
from talweg.client.data.first_job import first_job, first_model, target_column
from talweg.client.sweeps import study as studies
from talweg.client.sweeps.planning import seconds_taken
from talweg.client.sweeps.study import Size
from talweg.spec import Measured, Violation
from talweg.spec.stored import measured_in
from talweg.spec.sweeps import value_text
from talweg.v1.spec_pb2 import JobSpec

_MOST_LOSSES = 10
_LONGEST_NAME = 200
_BUILT_IN = [
    entry.name
    for entry in spec.datasets()
    # They are data of one's own.
    if entry.name not in ("stored", "file", "uri", "plugin")
]
# Those for which there is a model that data alone choose.
_TASKS = (
    *("regression", "binary", "multiclass", "multilabel", "ordinal"),
    *("segmentation", "detection"),
)


@click.command()
@click.argument("data", metavar="DATA")
@click.option(
    "--target", metavar="COLUMN", help="The column to predict; not needed of a built-in data set."
)
@click.option("--task", help="The task; by the target's values if absent.")
@click.option(
    "--budget", default="10m", show_default=True, metavar="TIME",
    help="How long it may take, such as 90s, 10m or 2h.",
)  # fmt: skip
@click.option(
    "--losses", "num_losses", default=4, show_default=True, type=click.IntRange(2, _MOST_LOSSES),
    help="How many losses are compared at most, the plain one among them.",
)  # fmt: skip
@click.option(
    "--splits",
    is_flag=True,
    help="Give each seed a split of the data of its own: the answer is then about all splits, and "
    "less sure. Without it, it is about one split.",
)
@click.option(
    "--output", "-o", metavar="FILE.html", type=click.Path(dir_okay=False),
    help="The report. Default: study-ID.html.",
)  # fmt: skip
@click.pass_obj
def study(
    session: Session, data: str, target: str | None, task: str | None, budget: str,
    num_losses: int, splits: bool, output: str | None,
) -> int:  # fmt: skip
    """Find out which loss suits data, and how sure that is, within a time.

    DATA is a file, a stored data set or a built-in one. The recommended losses are compared with
    the plain one: each is tried at several learning rates, the best on validation data is trained
    again with fresh seeds, and these are compared on test data. One job is run first, to know how
    much fits into the time. Ctrl-C leaves the study running.
    """
    begun = time.monotonic()
    seconds = studies.budget_seconds(budget)
    _check(data, target, task, output)
    with session.client() as client:
        job, measured = _job(client, data, target, task)
        if splits and studies.has_own_split(job):
            column = job.dataset.stored.split
            hint = "leave --splits out, or upload the data without that column"
            raise _refused("splits", f"the split of the column {column}", "no split", hint)
        values = _losses(client, job, measured, num_losses)
        base = studies.base_of(job, _experiment(data))
        workers = max(1, len([each for each in client.workers() if not each.problem]))
        try:
            taken = _pilot(client, base, values[0], seconds)
        except KeyboardInterrupt:
            note("\ninterrupted before the study began; nothing of it goes on")
            return DETACHED
        except WaitTimeout as error:
            raise _refused(
                "budget", budget, "more", "not even one job has ended by then"
            ) from error
        if taken is None:
            return _problems.JOB_NOT_SUCCEEDED
        left = seconds - (time.monotonic() - begun)
        size = studies.size_for(taken, left, workers, len(values))
        if size is None:
            least = studies.least_seconds(taken, workers) + (seconds - left)
            raise _too_short(budget, least, taken)
        _tell(size, taken, workers, values)
        sweep = client.sweep(
            studies.sweep_of(
                base,
                values,
                size,
                name=f"Study of {Path(data).name}"[:_LONGEST_NAME],
                time=max(1, int(left)),
                splits=splits,
            )
        )
        note(f"{sweep.name}; come back with: talweg watch {sweep.id}")
        status = follow_sweeps(client, [sweep])
        if status == DETACHED:
            return status
        _write(client, sweep.id, output or f"study-{sweep.id}.html")
    return status


def _experiment(data: str) -> str:
    """Return an experiment of the study's own, so that MLflow compares its runs alone."""
    return f"study of {re.sub('[^A-Za-z0-9._-]+', '-', Path(data).stem)}"[:100]


def _job(
    client: Client, data: str, target: str | None, task: str | None
) -> tuple[JobSpec, tuple[Measured, ...]]:
    """Return the first job for data but for its loss, and what is known of the target."""
    # As in job files, a name of the catalogue goes before a file: ./digits is the folder.
    if data in _BUILT_IN:
        return _built_in(data, task), ()
    if Path(data).exists():
        stored = client.upload(data)
    else:
        try:
            stored = client.stored_dataset(data)
        except NotFound as error:
            names = ", ".join(_BUILT_IN)
            raise NotFound(
                f"{data!r} is neither a file nor a stored data set, nor one of {names}"
            ) from error
    column = target_column(stored, target)
    job = first_job(stored, column, task)
    return job, tuple(measured_in(column, spec.task_kind(job), stored.num_samples))


def _check(data: str, target: str | None, task: str | None, output: str | None) -> None:
    """Refuse what is wrong whatever the data are, before anything is uploaded or trained."""
    if task is not None:
        _check_task(task)
    if data in _BUILT_IN and target is not None:
        raise _refused("target", target, "nothing", f"{data} has a target of its own")
    if output is not None and not Path(output).absolute().parent.is_dir():
        raise _refused("output", output, "a file in a folder that exists")


def _check_task(task: str) -> None:
    if task not in _TASKS:
        hint = "for others write a sweep file: docs/sweeps.md"
        raise _refused("task", task, f"one of {', '.join(_TASKS)}", hint)


def _refused(field: str, found: str, allowed: str, hint: str = "") -> InvalidRequest:
    return InvalidRequest(violations=[Violation(field, found, allowed, hint)])


def _built_in(name: str, task: str | None) -> JobSpec:
    from talweg.client.cli.commands.datasets.measure import task_of

    task = task or task_of(name)
    _check_task(task)
    job = spec.from_dict({"task": task, "dataset": name, "loss": "mse"})
    [entry] = [entry for entry in spec.datasets() if entry.name == name]
    shape = entry.facts.shape
    model = first_model(task, shape if len(shape) == 3 else None)
    job.model.CopyFrom(spec.from_dict({"model": model}).model)
    return job


def _losses(
    client: Client, job: JobSpec, measured: tuple[Measured, ...], most: int
) -> list[object]:
    task = spec.kind(job.task)[0]
    facts, _ = spec.facts_measured(measured, {})
    plain = client.recommend(task).recommendations
    fitting = client.recommend(task, to_facts(None, facts)).recommendations
    usable = [each.loss for each in fitting if not each.only_evaluated]
    values = studies.losses_of(plain[0].loss, usable, most)
    if len(values) < 2:
        hint = "write a sweep file instead"
        raise _refused("task", task, "a task with several losses", hint)
    return values


def _pilot(client: Client, base: JobSpec, loss: object, most: float) -> float | None:
    """Return how long one job takes, in seconds; None where it does not succeed.

    Raises:
        WaitTimeout: It has not ended after `most` seconds.
    """
    note("one job is run first, to know how long it takes")
    pilot = JobSpec()
    pilot.CopyFrom(base)
    pilot.loss.CopyFrom(spec.from_dict({"loss": loss}).loss)
    job = client.submit(pilot)
    try:
        message = job.wait(most).message
    except (KeyboardInterrupt, WaitTimeout):
        # Without the study it serves nothing.
        with suppress(TalwegError):
            job.cancel(reason="the study did not begin")
        raise
    if job.state != "SUCCEEDED":
        note(f"{job.id} ended as {job.state}: {message.outcome.message}")
        return None
    return max(seconds_taken(message), 1e-3)


def _too_short(budget: str, least: float, taken: float) -> InvalidRequest:
    hint = f"one job takes {_time(taken)}, and two losses need {studies.LEAST_JOBS} of them"
    return _refused("budget", budget, f"at least {_time(least)}", hint)


def _time(seconds: float) -> str:
    return duration(timedelta(seconds=seconds))


def _tell(size: Size, taken: float, workers: int, values: list[object]) -> None:
    named = ", ".join(value_text(value) for value in values[: size.num_losses])
    on = f"{workers} workers" if workers > 1 else "1 worker"
    note(
        f"one job takes {_time(taken)}: {size.num_losses} losses ({named}), "
        f"{size.num_trials} learning rates each, then {size.num_seeds} fresh seeds: "
        f"{size.num_jobs} jobs on {on}, about {_time(size.seconds)}"
    )


def _write(client: Client, id_: str, path: str) -> None:
    sweep = client.get_sweep(id_)
    try:
        Path(path).write_text(rendered(client, sweep), encoding="utf-8")
    except (TalwegError, OSError) as error:
        _problems.tell(error, about=path)
        return
    note(f"report: {path}")
    condition = f"experiment = {quoted(sweep.message.spec.base.experiment)}"
    if url := runs_url(client, list(client.jobs(filter=condition))):
        note(f"MLflow: {link_shown(url, err=True)}")
