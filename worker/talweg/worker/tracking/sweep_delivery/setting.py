"""What the run of a setting holds in MLflow: its seeds inside, beside their means.

All of it comes from the record, so that it is the same whoever writes it and however often.
"""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from talweg.spec import display_name, flatten, kind, label
from talweg.v1.jobs_pb2 import Job
from talweg.v1.sweeps_pb2 import Sweep, Trial
from talweg.worker.tracking.outputs.labels import NOTE_TAG, job_tags, parameters, plain
from talweg.worker.tracking.outputs.views import LOSS_LABEL_TAG
from talweg.worker.tracking.runs import KIND_TAG, PROJECT_TAG, SETTING_KIND, SWEEP_TAG
from talweg.worker.tracking.spool import Point
from talweg.worker.tracking.sweep_delivery.contents import first_job
from talweg.worker.tracking.sweep_delivery.reading import SweepReader

TRIAL_TAG = "talweg.trial"
_STATUS: Mapping[int, str] = {
    Trial.FAILED: "FAILED",
    Trial.DIVERGED: "FAILED",
    Trial.CANCELLED: "KILLED",
}


@dataclass(frozen=True)
class Seed:
    """A job of a setting."""

    name: str
    """What its metrics are told from those of the others by, such as `seed 3`."""
    job: Job
    """As the record has it."""
    points: Sequence[Point]
    """All of the record."""


@dataclass(frozen=True)
class SettingRun:
    """The content of a setting's run."""

    name: str
    """For people."""
    points: Sequence[Point]
    """Of all seeds, in the order of their steps."""
    params: Mapping[str, str]
    """What was asked for, without what the seeds vary."""
    tags: Mapping[str, str]
    """How it ended."""
    status: str
    """Of the run."""
    start_ms: int
    """When its first job was submitted."""
    end_ms: int
    """When its last job ended."""


def identity(sweep: str, trial: int) -> dict[str, str]:
    """Return the tags by which the runs of a setting are found."""
    return {
        SWEEP_TAG: sweep.removeprefix("sweeps/"),
        KIND_TAG: SETTING_KIND,
        TRIAL_TAG: str(trial),
    }


def read_seeds(reader: SweepReader, sweep: Sweep, trial: Trial) -> list[Seed]:
    """Return the jobs of a setting with their points; deleted ones are left out.

    Args:
        reader: Reads the record.
        sweep: The sweep.
        trial: As it was at its end.
    """
    seeds: list[Seed] = []
    for index, name in enumerate(trial.jobs):
        job = reader.job(name)
        if job is None:
            continue
        with reader.events(name) as events:
            points = [
                (each.metrics.step, each.time.ToMilliseconds(), dict(each.metrics.values))
                for each in events
                if each.HasField("metrics")
            ]
        path = next(iter(sweep.spec.seeds.vary), "training.seed")
        called = f"seed {flatten(job.spec).get(path, index)}"
        seeds.append(Seed(called, job, points))
    return seeds


def run_of(sweep: Sweep, trial: Trial, seeds: Sequence[Seed]) -> SettingRun:
    """Return what is to be written of a setting.

    Args:
        sweep: The sweep.
        trial: The setting, as it was at its end.
        seeds: Its jobs; empty where all were deleted.
    """
    spec = seeds[0].job.spec if seeds else first_job(sweep.spec)
    created = sweep.create_time.ToMilliseconds()
    varied = set(sweep.spec.seeds.vary)
    params = {name: text for name, text in parameters(spec).items() if name not in varied}
    params["sweep.seeds"] = ", ".join(each.name.removeprefix("seed ") for each in seeds)
    return SettingRun(
        name=trial.label or display_name(spec),
        points=list(_points(seeds)),
        params=params,
        tags={
            **job_tags(spec),
            **identity(sweep.name, trial.number),
            PROJECT_TAG: sweep.project,
            LOSS_LABEL_TAG: label(spec.loss),
            "talweg.loss": kind(spec.loss)[0],
            "talweg.task": kind(spec.task)[0],
            "talweg.state": Trial.State.Name(trial.state),
            "talweg.jobs": " ".join(each.job.name.removeprefix("jobs/") for each in seeds),
            "mlflow.source.name": sweep.name,
            "mlflow.source.type": "JOB",
            NOTE_TAG: _description(sweep, trial, seeds),
        },
        status=_STATUS.get(trial.state, "FINISHED"),
        start_ms=min((each.job.create_time.ToMilliseconds() for each in seeds), default=created),
        end_ms=max((each.job.end_time.ToMilliseconds() for each in seeds), default=created),
    )


def _points(seeds: Sequence[Seed]) -> Iterator[Point]:
    """Yield the points of a run by step: means and standard deviations, and those of each seed.

    A mean is over all seeds that SUCCEEDED, at the steps where each of them has a value.
    """
    of_seeds = [_by_metric(each.points) for each in seeds]
    if len(seeds) == 1:
        found = [(step, at, name, value) for (name, step), (at, value) in of_seeds[0].items()]
    else:
        found = [
            (step, at, f"{seed.name}/{name}", value)
            for seed, values in zip(seeds, of_seeds, strict=True)
            for (name, step), (at, value) in values.items()
        ]
        whole = [
            values
            for seed, values in zip(seeds, of_seeds, strict=True)
            if seed.job.state == Job.SUCCEEDED
        ]
        found += _means(whole)
    for step, at, name, value in sorted(found):
        yield step, at, {name: value}


def _means(
    whole: Sequence[Mapping[tuple[str, int], tuple[int, float]]],
) -> Iterator[tuple[int, int, str, float]]:
    if not whole:
        return
    for name, step in set.intersection(*(set(each) for each in whole)):
        at = max(each[name, step][0] for each in whole)
        values = [each[name, step][1] for each in whole]
        try:
            yield step, at, name, statistics.fmean(values)
            if len(values) > 1:
                yield step, at, f"sd/{name}", statistics.stdev(values)
        except OverflowError:
            continue


def _by_metric(points: Sequence[Point]) -> dict[tuple[str, int], tuple[int, float]]:
    return {
        (name, step): (at, value) for step, at, values in points for name, value in values.items()
    }


def _description(sweep: Sweep, trial: Trial, seeds: Sequence[Seed]) -> str:
    parts = [f"**{plain(trial.label or sweep.name)}**"]
    if trial.HasField("value"):
        sd = f" ± {trial.sd:.3g}" if trial.HasField("sd") else ""
        objective = plain(sweep.spec.objective.metric)
        parts.append(f"{objective} **{trial.value:.5g}**{sd}, mean over {trial.count} seeds")
    if trial.is_final:
        parts.append("The chosen setting of a compared value, trained again with fresh seeds.")
    if trial.message:
        parts.append(plain(trial.message))
    ended = [
        f"- {plain(each.name)}: {each.job.name}, {Job.State.Name(each.job.state)}"
        for each in seeds
    ]
    return "\n\n".join([*parts, "\n".join(ended)])
