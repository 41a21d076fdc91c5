"""What the summary of a sweep holds in MLflow.

What may change when a sweep is continued is a metric or a tag, never a parameter: MLflow takes
each parameter once.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from talweg.reports import ReportContents
from talweg.spec import fill, kind
from talweg.spec.stored import dataset_label
from talweg.spec.sweeps import Plan, first_settings, varied_paths
from talweg.v1.jobs_pb2 import Job
from talweg.v1.options_pb2 import MAXIMIZE
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.sweeps_pb2 import Sweep, SweepSpec, Trial
from talweg.worker.tracking.outputs.labels import NOTE_TAG, job_tags, plain
from talweg.worker.tracking.outputs.views import sweep_view
from talweg.worker.tracking.runs import KIND_TAG, SWEEP_TAG

KIND = "sweep"
"""What the tag of a summary says that tells it from the runs of jobs."""
STATUS: Mapping[int, str] = {
    Sweep.SUCCEEDED: "FINISHED",
    Sweep.FAILED: "FAILED",
    Sweep.CANCELLED: "KILLED",
}
"""The status of a run in MLflow by the state of its sweep."""
# What MLflow does not take in the name of a metric.
_NOT_IN_NAMES = re.compile(r"[^\w.\- ]+", re.ASCII)
_MOST_OF_NAME = 100


@dataclass(frozen=True)
class Summary:
    """The content of a summary run, beside its files."""

    metrics: Mapping[str, float]
    """Means and best values, and how many trials and jobs there were."""
    params: Mapping[str, str]
    """What the sweep was asked for."""
    tags: Mapping[str, str]
    """How it ended, and the description of the run."""


def first_job(spec: SweepSpec) -> JobSpec:
    """Return the job of a sweep's first setting, filled."""
    plan = Plan(spec)
    return fill(plan.job(first_settings(plan)[0], 0))


def identity(sweep: Sweep) -> dict[str, str]:
    """Return the tags by which the summary of a sweep is found."""
    return {SWEEP_TAG: sweep.name.removeprefix("sweeps/"), KIND_TAG: KIND}


def summarise(contents: ReportContents) -> Summary:
    """Return what the record says of a sweep, as metrics, parameters and tags.

    Args:
        contents: What its report shows.
    """
    sweep = contents.sweep
    job = first_job(sweep.spec)
    measured = dict(_measured(contents))
    return Summary(
        metrics={name: value for name, value in measured.items() if math.isfinite(value)},
        params=_parameters(sweep.spec, job),
        tags={
            **job_tags(job),
            **identity(sweep),
            "talweg.state": Sweep.State.Name(sweep.state),
            "talweg.message": sweep.message,
            "talweg.task": kind(job.task)[0],
            "talweg.best": "; ".join(trial.label for trial in contents.answer.chosen),
            "mlflow.source.name": sweep.name,
            "mlflow.source.type": "JOB",
            NOTE_TAG: _description(contents),
        },
    )


def view_of(contents: ReportContents) -> tuple[str, str]:
    """Return the tag of an experiment by which MLflow's pages show the runs of a sweep."""
    spec = contents.sweep.spec
    metric = spec.compare.metric or spec.objective.metric.replace("val/", "test/", 1)
    if spec.session:
        # Its jobs are not evaluated on test data.
        metric = spec.objective.metric
    return sweep_view(contents.sweep, metric, ascending=not contents.is_high)


def _measured(contents: ReportContents) -> Iterator[tuple[str, float]]:
    sweep, answer = contents.sweep, contents.answer
    objective = sweep.spec.objective.metric
    best = max if contents.is_high else min
    ended = [each for each in contents.trials if each.state == Trial.SUCCEEDED]
    reached = [each.value for each in ended if each.HasField("value")]
    chosen = [each for each in answer.chosen if each.HasField("value")]
    if chosen:
        yield f"best/{objective}", best(each.value for each in chosen)
    if reached:
        yield f"mean/{objective}", fmean(reached)
    if answer.HasField("comparison"):
        yield from _compared(contents)
    labels = _names([each.compared for each in chosen])
    for trial in chosen:
        if trial.compared:
            yield f"best/{objective} of {labels[trial.compared]}", trial.value
    yield from _counts(sweep)


def _compared(contents: ReportContents) -> Iterator[tuple[str, float]]:
    # In the order in which MLflow's page shows them.
    comparison = contents.answer.comparison
    metric = comparison.metric
    groups = {" ".join(each.labels): each for each in comparison.groups if each.HasField("mean")}
    if not groups:
        return
    best = max if comparison.goal == MAXIMIZE else min
    names = _names(list(groups))
    yield f"best/{metric}", best(each.mean for each in groups.values())
    for label, group in groups.items():
        yield f"mean/{metric} of {names[label]}", group.mean
    for group, found in zip(comparison.groups, comparison.answer.groups, strict=False):
        label = " ".join(group.labels)
        if found.difference.HasField("mean") and label in names:
            yield f"difference/{metric} of {names[label]}", found.difference.mean
    for label, group in groups.items():
        if group.HasField("sd"):
            yield f"sd/{metric} of {names[label]}", group.sd
    for label, group in groups.items():
        yield f"seeds of {names[label]}", group.count


def _counts(sweep: Sweep) -> Iterator[tuple[str, float]]:
    yield "trials", sweep.num_trials
    for trials in sweep.trials:
        yield f"trials/{Trial.State.Name(trials.state).lower()}", trials.count
    yield "jobs", sum(each.count for each in sweep.jobs)
    for jobs in sweep.jobs:
        yield f"jobs/{Job.State.Name(jobs.state).lower()}", jobs.count
    yield "jobs/taken over", sweep.num_reused
    if sweep.HasField("end_time"):
        took = sweep.end_time.ToMicroseconds() - sweep.create_time.ToMicroseconds()
        yield "seconds", took / 1e6


def _names(labels: Sequence[str]) -> dict[str, str]:
    """Return by label what MLflow takes in the name of a metric, each another one."""
    names: dict[str, str] = {}
    for label in dict.fromkeys(labels):
        name = " ".join(_NOT_IN_NAMES.sub(" ", label).split())[:_MOST_OF_NAME].strip() or "value"
        number = 2
        taken = set(names.values())
        unique = name
        while unique in taken:
            unique, number = f"{name} {number}", number + 1
        names[label] = unique
    return names


def _parameters(spec: SweepSpec, job: JobSpec) -> dict[str, str]:
    varied = list(dict.fromkeys(varied_paths(spec.space)))
    named = {
        "task": kind(job.task)[0],
        "dataset": dataset_label(job.dataset),
        "model": kind(job.model)[0],
        "loss": kind(job.loss)[0],
        "optimizer": kind(job.optimizer)[0],
    }
    params = {name: text for name, text in named.items() if name not in varied}
    params |= {
        "sweep.varies": ", ".join(varied),
        "sweep.algorithm": spec.algorithm.WhichOneof("kind") or "grid",
        "sweep.objective": f"{spec.objective.metric}, {_at(spec)}",
        "sweep.seeds_vary": ", ".join(spec.seeds.vary),
        "sweep.pruning": spec.pruning.WhichOneof("kind") or "none",
    }
    if spec.HasField("compare"):
        plan = Plan(spec)
        params["sweep.compares"] = spec.compare.path
        params["sweep.baseline"] = plan.searches[plan.baseline].label
        params["sweep.margin"] = spec.compare.margin
    if spec.max_time:
        params["sweep.max_time"] = spec.max_time
    return {name: text for name, text in params.items() if text}


def _at(spec: SweepSpec) -> str:
    return f"at {type(spec.objective).At.Name(spec.objective.at)}"


def _description(contents: ReportContents) -> str:
    """Return the description of the run in Markdown: the answer first."""
    answer = contents.answer
    parts = [f"**{plain(contents.title)}**", plain(answer.text)]
    remarks = [*answer.remarks, *answer.comparison.answer.remarks]
    if remarks:
        parts.append("\n".join(f"- {plain(each)}" for each in remarks))
    parts.append("The whole answer is `report.html`, below Artifacts.")
    return "\n\n".join(parts)
