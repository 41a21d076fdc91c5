"""How often training.spikes warns of a step of a job that is in good order.

Trains the jobs of client/examples whole, with the settings that they have, and counts the steps
that are told as spikes: no example has a bad batch. Run with `make bench`, or alone:
`python -m tests.benchmarks.spikes`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks.pairs import one_thread
from tests.benchmarks.table import Row, render

from talweg.client import read_jobs
from talweg.spec import job_models
from talweg.v1.jobs_pb2 import Job
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker import training

EXAMPLES = Path(__file__).parents[2] / "client" / "examples"
MOST_AMONG = 1000
"""One spike among so many steps is the goal's bound."""
# Jobs that differ by their seed alone tell the same again.
_NUM_SEEDS = 2


class Counted(NamedTuple):
    """What came of one job."""

    name: str
    """Whose it is."""
    steps: int
    """Its steps."""
    spikes: list[int]
    """Which of them were told as spikes."""


def specs() -> Iterator[tuple[str, JobSpec]]:
    """Return the jobs that need no other job beside them."""
    for path in sorted(EXAMPLES.glob("*.yaml")):
        for spec in read_jobs(path):
            if spec.training.seed < _NUM_SEEDS and not any(job_models(spec)):
                yield path.stem, spec


def count(name: str, spec: JobSpec) -> Counted:
    """Train a job and count its spikes."""
    report = training.RecordingReporter()
    result = training.run(spec, report=report, control=training.NeverStop(), device="cpu")
    assert result.state == Job.SUCCEEDED, (name, result.message)
    return Counted(name, result.steps, [step for step, _ in report.series("spikes/seen")])


def measure() -> list[Row]:
    """Return the share of steps that are told."""
    with one_thread():
        jobs = [count(name, spec) for name, spec in specs()]
    steps = sum(job.steps for job in jobs)
    num_spikes = sum(len(job.spikes) for job in jobs)
    told = [f"{job.name}: {', '.join(map(str, job.spikes))}" for job in jobs if job.spikes]
    return [
        Row(
            what="steps of the examples that are told as spikes",
            figure=f"{num_spikes} of {steps:,}",
            goal=f"< 1 of {MOST_AMONG:,}",
            met=num_spikes * MOST_AMONG < steps,
            remark="; ".join(told),
        )
    ]


if __name__ == "__main__":
    print(render(measure()))
