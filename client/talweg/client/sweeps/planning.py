"""What a sweep costs: a pilot tells how many seeds a comparison needs, and how long it takes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from talweg.client._errors import InvalidRequest
from talweg.spec import Violation
from talweg.v1.jobs_pb2 import Job as JobMessage
from talweg.v1.sweeps_pb2 import SweepSpec

if TYPE_CHECKING:
    from talweg.client._jobs import Job
    from talweg.client.comparisons._comparison import Comparison

PILOT_SEEDS = 3
"""Seeds of the pilot: with fewer, the noise of differences is not known."""


@dataclass(frozen=True)
class ValuePlan:
    """What the comparison of a value with the baseline needs."""

    label: str
    """The value."""
    sd: float | None
    """Standard deviation of its differences to the baseline in the pilot; None of the baseline."""
    seeds: int | None
    """Seeds that show a difference of the margin's size; None where unknown."""
    seeds_low: int | None
    """The low end of its 80% interval, since three seeds tell the noise roughly."""
    seeds_high: int | None
    """The high end; None where unknown."""
    job_seconds: float
    """How long a job of it took in the pilot."""


@dataclass(frozen=True)
class SweepPlan:
    """What a sweep needs."""

    values: Sequence[ValuePlan]
    """The compared values, the best of the pilot first."""
    seeds: int | None
    """Seeds that suffice for all comparisons by the pilot's noise; None where one is unknown."""
    seeds_low: int | None
    """The low end of the 80% intervals of all comparisons."""
    seeds_high: int | None
    """The high end; None where one is unknown."""
    search_seconds: float
    """The search as the file has it, with the workers of now."""
    final_seconds: float | None
    """The final jobs with `seeds` fresh seeds each; None where that is unknown."""
    file_seconds: float
    """The sweep as the file has it: its search and its own number of final seeds."""
    num_workers: int
    """How many jobs run at once."""


def pilot_of(spec: SweepSpec) -> SweepSpec:
    """Return the pilot of a sweep: one setting of each compared value, with three seeds.

    Args:
        spec: A sweep that compares values within a margin.

    Raises:
        InvalidRequest: It compares none, or has no margin.
    """
    missing = []
    if not spec.HasField("compare"):
        hint = "write compare: {path: loss, margin: 1%}"
        missing.append(Violation("compare", "nothing", "what is compared", hint))
    elif not spec.compare.margin:
        hint = "the largest difference that does not matter"
        missing.append(Violation("compare.margin", "nothing", "a number, or such as 1%", hint))
    if missing:
        raise InvalidRequest(violations=missing)
    pilot = SweepSpec()
    pilot.CopyFrom(spec)
    pilot.display_name = f"pilot of {spec.display_name or 'a sweep'}"[:200]
    pilot.trials = 1
    pilot.algorithm.random.SetInParent()
    pilot.seeds.count = 1
    pilot.compare.ClearField("decide")
    pilot.compare.final_seeds = PILOT_SEEDS
    for name in ("pruning", "max_time", "failure_budget", "predicted"):
        pilot.ClearField(name)
    return pilot


def plan_of(
    comparison: "Comparison",
    jobs: Mapping[str, "Job"],
    spec: SweepSpec,
    searches: Mapping[str, int],
    num_workers: int,
) -> SweepPlan:
    """Return what a sweep needs, by its pilot.

    Args:
        comparison: Of the pilot, with an answer.
        jobs: The pilot's jobs by name.
        spec: The sweep, with its defaults.
        searches: Number of trials by compared value.
        num_workers: How many jobs run at once.
    """
    answer = comparison.answer
    assert answer is not None, "a pilot has a baseline"
    num_at_once = min(num_workers, spec.parallel) if spec.HasField("parallel") else num_workers
    rows = [row.job for group in comparison.groups for row in group.rows]
    occupied = seconds_occupied([jobs[name].message for name in rows if name in jobs])
    values = []
    for group, found in zip(comparison.groups, answer.groups, strict=True):
        taken = [occupied[row.job] for row in group.rows if row.job in occupied]
        difference = found.difference
        values.append(
            ValuePlan(
                label=" ".join(group.labels),
                sd=None if difference is None else difference.sd,
                seeds=_seeds(difference, "needed"),
                seeds_low=_seeds(difference, "needed_low"),
                seeds_high=_seeds(difference, "needed_high"),
                job_seconds=fmean(taken) if taken else 0.0,
            )
        )
    seeds = _largest(values, lambda each: each.seeds)
    search = sum(
        searches.get(each.label, 0) * spec.seeds.count * each.job_seconds for each in values
    )
    of_each_seed = sum(each.job_seconds for each in values)
    compare = spec.compare
    own = compare.decide.max_seeds if compare.HasField("decide") else compare.final_seeds
    return SweepPlan(
        values=values,
        seeds=seeds,
        seeds_low=_largest(values, lambda each: each.seeds_low),
        seeds_high=_largest(values, lambda each: each.seeds_high),
        search_seconds=search / num_at_once,
        final_seconds=None if seeds is None else seeds * of_each_seed / num_at_once,
        file_seconds=(search + own * of_each_seed) / num_at_once,
        num_workers=num_at_once,
    )


def _largest(
    values: Sequence[ValuePlan], seeds_of: Callable[[ValuePlan], int | None]
) -> int | None:
    """Return the seeds that all comparisons need; None where those of one are unknown."""
    needed = [seeds_of(each) for each in values if each.sd is not None]
    known = [each for each in needed if each is not None]
    return max(known) if known and len(known) == len(needed) else None


def seconds_occupied(jobs: Sequence[JobMessage]) -> dict[str, float]:
    """Return how long each of some jobs that ran after each other kept a worker, by name.

    A job begins when it is claimed. A worker claims several short jobs at once, so that each of
    their times has those before it inside; and between others it takes time to claim. Together
    they took the worker from the first claim to the last end.

    Args:
        jobs: Jobs that have ended and waited together.
    """
    by_worker: dict[str, list[JobMessage]] = {}
    for job in jobs:
        by_worker.setdefault(job.worker, []).append(job)
    busy = sum(
        max(job.end_time.ToMicroseconds() for job in of_worker)
        - min(job.start_time.ToMicroseconds() for job in of_worker)
        for of_worker in by_worker.values()
    )
    taken = {job.name: seconds_taken(job) for job in jobs}
    whole = sum(taken.values())
    share = busy / 1e6 / whole if whole > 0 else 1.0
    return {name: seconds * share for name, seconds in taken.items()}


def seconds_taken(job: JobMessage) -> float:
    """Return how long the training of a job that has ended took, in seconds."""
    return (job.end_time.ToMicroseconds() - job.start_time.ToMicroseconds()) / 1e6


def _seeds(difference: object, name: str) -> int | None:
    needed = getattr(difference, name, None)
    least = getattr(difference, "least", 0)
    # Fewer could show nothing, whatever the noise.
    return None if needed is None else max(int(needed), int(least))
